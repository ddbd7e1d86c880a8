"""MambaHead beside the plain head, in other people's configs, and trained."""

from collections import Counter
from pathlib import Path

import pytest
import torch
from mmengine.analysis import get_model_complexity_info
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, DefaultScope
from mmyolo.models.dense_heads import YOLOv8Head

from dsym.errors import InputError

CONFIGS = Path(__file__).parents[2] / 'configs'
SCAN_BIASES = ('.dt_proj.bias', '.conv1d.bias', '.norm.bias')
METAS = [
    dict(ori_shape=(60, 64), scale_factor=(1.0, 1.0), img_shape=(64, 64))
] * 2


def build(**module):
    """YOLOv9-t with a MambaHead."""
    config = Config.fromfile(CONFIGS / '_base_/models/yolov9_t.py').model
    config.bbox_head.type = 'MambaHead'
    config.bbox_head.head_module.update(type='MambaHeadModule', **module)
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmyolo'):
        model = MODELS.build(config)
    model.init_weights()
    return model


def batch():
    boxes = torch.tensor(
        [[0, 3, 4.0, 6, 40, 50], [0, 1, 20, 8, 60, 30], [1, 5, 2, 2, 62, 62]]
    )
    return torch.rand(2, 3, 64, 64), dict(bboxes_labels=boxes, img_metas=METAS)


def batch_of_all_levels():
    """Boxes of 15 strides of each level, as large as untrained ones are."""
    boxes = torch.tensor(
        [
            [0, 1, 16.0, 16, 496, 496],
            [0, 2, 20, 20, 260, 260],
            [0, 3, 300, 300, 420, 420],
        ]
    )
    return torch.rand(1, 3, 512, 512), dict(
        bboxes_labels=boxes, img_metas=METAS[:1]
    )


def features(model, images):
    return model.neck(model.backbone(images))


def test_untrained_head_is_the_plain_one():
    """A scan that adds nothing leaves YOLOv9Head, with the same names."""
    config = Config.fromfile(CONFIGS / '_base_/models/yolov9_t.py').model
    with DefaultScope.overwrite_default_scope('mmyolo'):
        plain = MODELS.build(config).eval()
    model = build().eval()
    missing = model.load_state_dict(plain.state_dict(), strict=False)
    assert missing.unexpected_keys == []
    assert missing.missing_keys
    assert all('_scans.' in name for name in missing.missing_keys)
    images, _ = batch()
    for ours, theirs in zip(
        model.bbox_head(features(model, images)),
        plain.bbox_head(features(plain, images)),
    ):
        for a, b in zip(ours, theirs):
            assert torch.equal(a, b)


def test_scan_reaches_the_other_end_of_the_image():
    """Beyond the 7 px that 3x3, 3x3 and 1x1 convolutions see of a level."""
    module = build(scan='bidirectional').bbox_head.head_module.eval()
    scan = module.cls_scans[0]
    for mixer in scan.mixers:
        torch.nn.init.normal_(mixer.out_proj.weight)
    x = torch.rand(1, 64, 16, 16, requires_grad=True)
    logits = module.forward_single(
        x, *(part[0] for part in (
            module.cls_preds, module.reg_preds, module.stem_scans,
            module.cls_scans, module.reg_scans,
        ))
    )[0]  # fmt: skip
    (gradient,) = torch.autograd.grad(logits[0, :, 0, 0].sum(), x)
    assert gradient[0, :, 15, 15].abs().max() > 0


def test_levels_with_a_scan():
    model = build(scan_levels=[1, 2])
    names = [n for n, _ in model.named_parameters() if '_scans.' in n]
    assert {name.split('_scans.')[1].split('.')[0] for name in names} == {
        '1', '2',
    }  # fmt: skip
    # the auxiliary branch keeps the plain head
    assert not any('aux' in name for name in names)
    with pytest.raises(InputError, match=r'there are the levels \[0, 1, 2\]'):
        build(scan_levels=[3])


def test_one_scan_before_both_branches():
    """It is the only one of its level; both branches see what it adds."""
    torch.manual_seed(0)
    model = build(scan_place='stem', scan_levels=[2]).eval()
    scans = [
        name
        for name, module in model.named_modules()
        if type(module).__name__ == 'Scan2D'
    ]
    assert scans == ['bbox_head.head_module.stem_scans.2']
    plain = build(scan_levels=[]).eval()
    missing = plain.load_state_dict(model.state_dict(), strict=False)
    assert all('stem_scans.2' in name for name in missing.unexpected_keys)
    levels = [torch.randn(1, c, 4, 4) for c in (64, 96, 128)]
    with torch.no_grad():
        before = plain.bbox_head(levels)
        for a, b in zip(model.bbox_head(levels), before):
            torch.testing.assert_close(a, b)
        scan = model.bbox_head.head_module.stem_scans[2]
        scan.mixers[0].out_proj.weight.fill_(0.1)
        scores, boxes = model.bbox_head(levels)[:2]
    for after, old in ((scores, before[0]), (boxes, before[1])):
        assert [not torch.equal(a, b) for a, b in zip(after, old)] == [
            False,
            False,
            True,
        ]
    with pytest.raises(InputError, match=r"scan_place='neck'.*'stem'"):
        build(scan_place='neck')


def test_bias_of_equation_7():
    """ln(n / s): scores of 6 classes start at 6 / (6 + s)."""
    module = build(bias_start='paper').bbox_head.head_module
    for branch, stride in zip(module.cls_preds, (8, 16, 32)):
        start = branch[-1].bias.sigmoid()
        torch.testing.assert_close(
            start, torch.full_like(start, 6 / (6 + stride))
        )
    with pytest.raises(InputError, match="bias_start='ln'"):
        build(bias_start='ln')


def test_confidence_learns_the_iou_of_matched_boxes():
    """Binary cross-entropy of a logit 0 is ln 2, whatever the target."""
    model = build(with_confidence=True).train()
    for layer in model.bbox_head.head_module.conf_preds:
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    images, samples = batch()
    seen = {}
    match_and_loss = model.bbox_head.match_and_loss

    def spy(*args):
        seen['losses'], seen['matches'] = match_and_loss(*args)
        return seen['losses'], seen['matches']

    model.bbox_head.match_and_loss = spy
    losses = model.bbox_head.loss(features(model, images), samples)
    found = seen['matches']
    assert len(found.image) > 0
    expected = torch.log(torch.tensor(2.0)) * found.weights.sum()
    torch.testing.assert_close(losses['loss_conf'], expected * found.factor)
    # the logit's gradient: weight (1/2 - IoU), IoU by its definition
    (gradient,) = torch.autograd.grad(
        losses['loss_conf'],
        model.bbox_head.head_module.conf_preds[0].bias,
        retain_graph=True,
    )
    boxes, targets = found.boxes.detach(), found.targets
    overlap = (
        torch.minimum(boxes[:, 2:], targets[:, 2:])
        - torch.maximum(boxes[:, :2], targets[:, :2])
    ).clamp(min=0)
    areas = [(b[:, 2:] - b[:, :2]).prod(1) for b in (boxes, targets)]
    iou = overlap.prod(1) / (sum(areas) - overlap.prod(1))
    first = found.place < 64  # places of the finest level
    expected = (found.weights[:, 0] * (0.5 - iou))[first].sum()
    torch.testing.assert_close(
        gradient[0], expected * found.factor, rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize('multi_label', [True, False])
def test_confidence_is_multiplied_in_and_kept(multi_label):
    """The boxes of mmyolo's own objectness, and the factor beside each."""
    model = build(with_confidence=True).eval()
    head = model.bbox_head
    head.test_cfg.update(score_thr=0.0, multi_label=multi_label)
    images, _ = batch()
    with torch.no_grad():
        outs = head(features(model, images))
        ours = head.predict_by_feat(*outs, batch_img_metas=METAS)
        theirs = YOLOv8Head.predict_by_feat(head, *outs, batch_img_metas=METAS)
    for mine, other in zip(ours, theirs):
        assert len(mine) == len(other) > 0
        for name in ('bboxes', 'scores', 'labels'):
            torch.testing.assert_close(mine[name], other[name])
        # scores over confidences are class scores of one of the places
        classes = torch.cat([o.flatten(2) for o in outs[0]], 2).sigmoid()
        ratio = (mine.scores / mine.confidences)[:20, None]
        assert ((classes.flatten() - ratio).abs().min(1)[0] < 1e-6).all()


def test_boxes_in_the_input_are_not_clamped_to_the_original_image():
    """mmyolo#908: without rescaling, the input's size is the limit."""
    model = build(with_confidence=True).eval()
    metas = [dict(METAS[0], ori_shape=(8, 8))] * 2
    with torch.no_grad():
        outs = model.bbox_head(features(model, torch.rand(2, 3, 64, 64)))
        results = model.bbox_head.predict_by_feat(
            *outs, batch_img_metas=metas, rescale=False
        )
    assert results[0].bboxes.max() > 32


@pytest.mark.parametrize(
    'constructor',
    [
        'GroupedOptimWrapperConstructor',
        'mmyolo.YOLOv5OptimizerConstructor',
        'mmyolo.YOLOv7OptimWrapperConstructor',
    ],
)
def test_every_parameter_moves(constructor):
    """Three steps; a scan's own parameters wait for its last projection."""
    model = build(with_confidence=True, scan='cross').train()
    grouped = constructor.startswith('Grouped')
    # a key of its own would take dt_proj.bias from the biases
    decay = dict(
        norm_decay_mult=0.0,
        bias_decay_mult=0.0,
        custom_keys=dict(dt_proj=dict(lr_mult=2.0)),
    )
    wrapper = build_optim_wrapper(
        model,
        dict(
            type='OptimWrapper',
            constructor=constructor,
            optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.1),
            **(dict(paramwise_cfg=decay) if grouped else {}),
        ),
    )
    decayed = {
        id(parameter): group['weight_decay']
        for group in wrapper.optimizer.param_groups
        for parameter in group['params']
    }
    trained = dict(model.bbox_head.named_parameters())
    assert all(id(parameter) in decayed for parameter in trained.values())
    for name, parameter in trained.items():
        if name.endswith(('.A_log', '.D')):
            assert decayed[id(parameter)] == 0
        if grouped and name.endswith('dt_proj.bias'):
            assert decayed[id(parameter)] == 0
    for group in wrapper.optimizer.param_groups:
        group['weight_decay'] = 0.0  # what moves now has a gradient
    before = {name: value.detach().clone() for name, value in trained.items()}
    images, samples = batch_of_all_levels()
    for _ in range(3):
        losses = model.bbox_head.loss(features(model, images), samples)
        wrapper.update_params(sum(losses.values()))
    assert any(name.endswith('dt_proj.bias') for name in trained)
    for name, value in trained.items():
        assert not torch.equal(value, before[name]), name


def test_bias_warmup_leaves_the_scans_alone():
    model = build()
    optimizer = build_optim_wrapper(
        model,
        dict(
            type='OptimWrapper',
            constructor='GroupedOptimWrapperConstructor',
            optimizer=dict(type='AdamW', lr=1e-3),
        ),
    ).optimizer
    warmed = {
        id(parameter)
        for group in optimizer.param_groups
        if group['is_bias']
        for parameter in group['params']
    }
    scans = Counter()
    for name, parameter in model.named_parameters():
        if not name.endswith('.bias'):
            continue
        kind = next((x for x in SCAN_BIASES if name.endswith(x)), None)
        scans[kind] += 1
        assert (id(parameter) in warmed) == (kind is None), name
    # two branches of three levels, each with one scan
    assert [scans[kind] for kind in SCAN_BIASES] == [6, 6, 6]


def build_yolov8(**module):
    """mmyolo's own config; only the head's types and options are ours."""
    config = get_config(
        'mmyolo::yolov8/yolov8_n_syncbn_fast_8xb16-500e_coco.py'
    )
    options = dict(type='MambaHeadModule', **module)
    config.merge_from_dict(
        {
            'model.bbox_head.type': 'MambaHead',
            'model.bbox_head.head_module': options,
        }
    )
    with DefaultScope.overwrite_default_scope('mmyolo'):
        model = MODELS.build(config.model)
    model.init_weights()
    return config, model


@pytest.mark.parametrize('with_confidence', [False, True])
def test_one_line_in_a_yolov8_config(with_confidence):
    """Every parameter is in mmyolo's own optimizer and has a gradient."""
    config, model = build_yolov8(with_confidence=with_confidence)
    with DefaultScope.overwrite_default_scope('mmyolo'):
        wrapper = build_optim_wrapper(model, config.optim_wrapper)
    model.train()
    images, samples = batch_of_all_levels()
    losses = model.bbox_head.loss(features(model, images), samples)
    names = {'loss_cls', 'loss_bbox', 'loss_dfl'}
    if with_confidence:
        names.add('loss_conf')
    assert set(losses) == names
    wrapper.update_params(sum(losses.values()))
    losses = model.bbox_head.loss(features(model, images), samples)
    sum(losses.values()).backward()
    taken = {
        id(parameter)
        for group in wrapper.optimizer.param_groups
        for parameter in group['params']
    }
    untrained = [
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad
        and (id(parameter) not in taken or not parameter.grad.any())
    ]
    assert untrained == []
    # the third group's learning rate is warmed up from 0.1
    warmed = {id(p) for p in wrapper.optimizer.param_groups[2]['params']}
    for name, parameter in model.named_parameters():
        if name.endswith(SCAN_BIASES):
            assert id(parameter) not in warmed, name


def test_predictions_in_a_yolov8_config():
    """A confidence logit of 0 halves the scores of the same boxes."""
    model = build_yolov8(with_confidence=True)[1].eval()
    head = model.bbox_head
    head.test_cfg.score_thr = 0.0
    for layer in head.head_module.conf_preds:
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    with torch.no_grad():
        *outs, confidences = head(features(model, batch()[0]))
        sure = head.predict_by_feat(*outs, batch_img_metas=METAS)
        halved = head.predict_by_feat(
            *outs, confidences, batch_img_metas=METAS
        )
    for one, other in zip(sure, halved):
        assert len(one) == len(other) > 0
        torch.testing.assert_close(other.scores, one.scores / 2)
        torch.testing.assert_close(other.bboxes, one.bboxes)
        assert torch.equal(other.confidences, torch.full_like(one.scores, 0.5))


def test_autocast__as_float32():
    """Of the greatest value: what 8 bits a layer leave of the last one's.

    The scans add something here, as trained ones do.
    """
    model = build(scan='cross', with_confidence=True).eval()
    head = model.bbox_head
    for name, weight in head.named_parameters():
        if name.endswith('out_proj.weight'):
            torch.nn.init.normal_(weight, std=0.3)
    levels = [
        torch.randn(1, c, n, n) for c, n in ((64, 16), (96, 8), (128, 4))
    ]
    with torch.no_grad():
        expected = head(levels)
        with torch.autocast('cpu', torch.bfloat16):
            found = head(levels)
    for ours, theirs in zip(found, expected):
        for a, b in zip(ours, theirs):
            assert a.dtype == torch.float32
            assert (a - b).abs().max() <= 2**-6 * b.abs().max()


def test_operations__are_counted_by_mmengine():
    """Which traces the model, as mmdet's and mmyolo's get_flops.py."""
    model = build().eval()
    counted = get_model_complexity_info(
        model, (3, 64, 64), show_table=False, show_arch=False
    )
    weights = sum(x.numel() for x in model.parameters())
    assert counted['params'] == weights
    # at 640 px 9.6 G (docs/mamba_head.md counts no scans): 100 times as many
    assert counted['flops'] > 0
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        traced = torch.jit.trace(model, images, check_trace=False)(images)
        expected = model(images)
    for found, right in zip(flat(traced), flat(expected)):
        torch.testing.assert_close(found, right)


def flat(outputs):
    """Tensors of nested tuples."""
    if isinstance(outputs, torch.Tensor):
        return [outputs]
    return [x for part in outputs if part is not None for x in flat(part)]
