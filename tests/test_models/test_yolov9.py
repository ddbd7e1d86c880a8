"""YOLOv9 against the official code and the published counts."""

import copy
import math
import os.path as osp

import pytest
import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmyolo.utils import switch_to_deploy
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode
from yolo9_peer import build_official, official_loss
from yolov9_to_dsym import convert_state_dict

from dsym.errors import InputError

ROOT = osp.dirname(osp.dirname(osp.dirname(osp.abspath(__file__))))
SIZES = ('t', 's', 'm', 'c', 'e')
# Parameters of the training graph; of the inference graph before and after
# re-parameterisation and fusion; GFLOPs at 640 px, 2 a multiply-add. All for
# 80 classes as the official code prints them, with its DFL kernel(s) of 16
# constant weights, which are a buffer here.
STRIDES = (8, 16, 32)
GOLDEN = dict(
    t=(3717680, 2442640, 2407632, 9.90),
    s=(9804512, 7226208, 7105888, 26.71),
    m=(32878432, 20124000, 19978672, 76.80),
    c=(51182080, 25498752, 25288768, 102.82),
    e=(69529664, 58114432, 57345920, 191.15),
)


@pytest.fixture(autouse=True)
def mmyolo_scope():
    """Build as a config with ``default_scope = 'mmyolo'`` does."""
    with DefaultScope.overwrite_default_scope('mmyolo'):
        yield


def model_cfg(size, num_classes=80, with_aux=True):
    cfg = Config.fromfile(
        osp.join(ROOT, 'configs', '_base_', 'models', f'yolov9_{size}.py')
    )
    model = cfg.model
    model.bbox_head.head_module.num_classes = num_classes
    if not with_aux:
        model.backbone.with_aux = False
        model.neck.with_aux = False
        model.bbox_head.aux_head_module = None
    return model


def num_params(model):
    return sum(p.numel() for p in model.parameters())


@pytest.fixture(scope='module', params=SIZES)
def pair(request):
    """An official training model and ours with the same random weights."""
    torch.manual_seed(0)
    size = request.param
    official = build_official(f'yolov9-{size}')
    with DefaultScope.overwrite_default_scope('mmyolo'):
        ours = MODELS.build(model_cfg(size))
    state_dict, info = convert_state_dict(official.state_dict())
    ours.load_state_dict(state_dict, strict=True)
    assert (info['size'], info['num_classes']) == (size, 80)
    return size, official, ours


def test_eval_outputs_equal_the_official_ones(pair):
    _, official, ours = pair
    official.eval()
    ours.eval()
    image = torch.rand(
        1, 3, 96, 128, generator=torch.Generator().manual_seed(1)
    )
    with torch.no_grad():
        decoded, raw = official(image)
        cls_scores, bbox_preds = ours.bbox_head(
            ours.neck(ours.backbone(image))
        )
    for level, cls_score in enumerate(cls_scores):
        # raw[1] is the main branch: 64 box logits, then the class logits
        torch.testing.assert_close(
            cls_score, raw[1][level][:, 64:], rtol=0, atol=1e-4
        )
    distances = torch.cat([b.flatten(2) for b in bbox_preds], 2)
    left_top, right_bottom = distances.chunk(2, 1)
    # official boxes are (cx, cy, w, h) in pixels; here in strides
    strides = torch.cat(
        [
            b.new_full((b[0, 0].numel(),), s)
            for b, s in zip(bbox_preds, STRIDES)
        ]
    )
    places = torch.cat(
        [
            torch.stack(torch.meshgrid(x, y, indexing='xy')).flatten(1)
            for s in STRIDES
            for x, y in [
                (0.5 + torch.arange(128 // s), 0.5 + torch.arange(96 // s))
            ]
        ],
        1,
    )
    centres = places + (right_bottom - left_top) / 2
    torch.testing.assert_close(
        torch.cat([centres, left_top + right_bottom], 1),
        decoded[1][:, :4] / strides,
        rtol=0,
        atol=1e-4,
    )


# Rows of image index, class and corners, in an image of 128 px.
BOXES = [
    [0, 3, 20.0, 30, 90, 100],
    [0, 7, 64, 8, 120, 60],
    [0, 5, 1, 2, 127, 126],
    [1, 3, 4, 70, 44, 126],
    [1, 79, 50, 50, 70, 66],
    [1, 11, 8, 4, 92, 80],
    [1, 2, 70, 80, 110, 122],
]


def start_at(distance, *branches):
    """Set where boxes start, in strides, as ``init_distance`` does."""
    bins = torch.arange(16) * math.log(distance / (1 + distance))
    for branch in branches:
        branch[-1].bias.data.copy_(bins.repeat(4))


def step_images():
    generator = torch.Generator().manual_seed(2)
    return torch.rand(2, 3, 128, 128, generator=generator)


def official_step(official, boxes):
    """Box, class and DFL loss of a step and gradients by our names."""
    images = step_images().to(next(official.parameters()).dtype)
    targets = torch.cat(
        [
            boxes[:, :2],
            (boxes[:, 2:4] + boxes[:, 4:]) / 256,
            (boxes[:, 4:] - boxes[:, 2:4]) / 128,
        ],
        1,
    )
    official.train().zero_grad()
    total, parts = official_loss(official, images, targets)
    total.backward()
    gradients, _ = convert_state_dict(
        {
            name: parameter.grad
            for name, parameter in official.named_parameters()
            if parameter.grad is not None
        }
    )
    return [part.item() for part in parts], gradients


def our_step(ours, images, boxes):
    """The same of ours, whose parts the official code does not average."""
    ours.train().zero_grad()
    losses = ours.bbox_head.loss(
        ours.neck(ours.backbone(images)),
        dict(bboxes_labels=boxes, img_metas=[{}, {}]),
    )
    sum(losses.values()).backward()
    parts = [
        (losses[f'loss_{name}'] + losses[f'aux_loss_{name}']).item() / 2
        for name in ('bbox', 'cls', 'dfl')
    ]
    return parts, {
        name: parameter.grad
        for name, parameter in ours.named_parameters()
        if parameter.grad is not None
    }


def pair_that_learns_at_all_levels(pair):
    """Copies whose boxes start at 40, 80 and 160 px.

    YOLOv9's own start, 120 to 480 px, leaves the two coarse levels without a
    gradient in 128 px, and nothing to compare.
    """
    official, ours = map(copy.deepcopy, pair[1:])
    start_at(2.5, *official.model[-1].cv2, *official.model[-1].cv4)
    for module in (ours.bbox_head.head_module, ours.bbox_head.aux_head_module):
        start_at(2.5, *module.reg_preds)
    return official.double(), ours


def test_training_step_equals_the_official_one(pair):
    # In double precision, because a bias before a BN has a gradient near
    # zero, of which fp32 leaves only rounding.
    official, ours = pair_that_learns_at_all_levels(pair)
    boxes = torch.tensor(BOXES)
    expected_parts, expected = official_step(official, boxes)
    parts, gradients = our_step(ours.double(), step_images().double(), boxes)
    assert parts == pytest.approx(expected_parts, rel=1e-3)
    assert gradients.keys() == expected.keys()
    for name in ('head_module', 'aux_head_module'):
        for level in range(3):
            bias = expected[f'bbox_head.{name}.reg_preds.{level}.2.bias']
            assert bias.norm() > 1e-3
    for name, gradient in gradients.items():
        wanted = expected[name]
        error = (gradient - wanted).norm() / wanted.norm().clamp(min=1e-6)
        assert error < 1e-3, f'{name}: relative error {error:.2e}'


@pytest.mark.parametrize('pair', ['t', 'c'], indirect=True)
def test_training_step_of_fused_norms_equals_the_official_one(pair):
    """In float32 and channels_last, as a CPU trains."""
    official, ours = pair_that_learns_at_all_levels(pair)
    ours.to(memory_format=torch.channels_last)
    boxes = torch.tensor(BOXES)
    expected_parts, expected = official_step(official, boxes)
    images = step_images().to(memory_format=torch.channels_last)
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        parts, gradients = our_step(ours, images, boxes)
    calls = {row.key: row.count for row in profiled.key_averages()}
    assert calls['dsym::bn_silu'] > 10, calls
    assert parts == pytest.approx(expected_parts, rel=1e-3)
    for name, gradient in gradients.items():
        wanted = expected[name].float()
        if wanted.norm() > 1e-4:  # not of a bias before a BN
            likeness = F.cosine_similarity(
                gradient.flatten(), wanted.flatten(), 0
            )
            # 40 layers of rounding leave 0.998 at the stem of c
            assert likeness > 0.99, f'{name}: {likeness:.5f}'


@pytest.mark.parametrize('size', SIZES)
def test_inference_graph_counts_and_weights(size):
    """Golden counts; the converted graph and re-parameterisation agree."""
    train_params, params, fused_params, gflops = GOLDEN[size]
    torch.manual_seed(0)
    training = MODELS.build(model_cfg(size))
    assert num_params(training) == train_params - 2 * 16

    official = build_official(f'gelan-{size}')
    model = MODELS.build(model_cfg(size, with_aux=False))
    state_dict, info = convert_state_dict(official.state_dict())
    model.load_state_dict(state_dict, strict=True)
    assert not info['with_aux']
    assert num_params(model) == params - 16
    model.eval()
    official.eval()
    with torch.device('meta'):
        meta_model = MODELS.build(model_cfg(size, with_aux=False)).eval()
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            meta_model(torch.empty(1, 3, 640, 640), mode='tensor')
    assert counter.get_total_flops() / 1e9 == pytest.approx(gflops, abs=5e-3)

    image = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        before = model(image, mode='tensor')
        _, raw = official(image)
        switch_to_deploy(model)
        after = model(image, mode='tensor')
    for level in range(3):
        torch.testing.assert_close(
            before[0][level], raw[level][:, 64:], rtol=0, atol=1e-4
        )
        # the mean of each side's distribution over its 16 bins
        bins = raw[level][:, :64].unflatten(1, (4, 16)).softmax(2)
        distances = (bins * torch.arange(16.0)[:, None, None]).sum(2)
        torch.testing.assert_close(
            before[1][level], distances, rtol=0, atol=1e-4
        )
        torch.testing.assert_close(
            before[1][level], after[1][level], rtol=1e-3, atol=1e-3
        )
        torch.testing.assert_close(
            before[0][level], after[0][level], rtol=1e-3, atol=1e-3
        )
    # a fused BN leaves a bias in place of its two parameters a channel
    num_bn = sum(
        m.weight.numel()
        for m in model.modules()
        if isinstance(m, torch.nn.BatchNorm2d)
    )
    assert num_params(model) - num_bn == fused_params - 16


def test_strides__of_places_are_those_of_the_head():
    """Of P2: 16, 8 and 4 places a side of 64 px, the first at 2 px."""
    module = dict(
        type='YOLOv9HeadModule',
        num_classes=6,
        in_channels=[16, 16, 16],
        featmap_strides=[4, 8, 16],
    )
    head = MODELS.build(dict(type='YOLOv9Head', head_module=module))
    places = head.prior_generator.grid_priors(
        [(16, 16), (8, 8), (4, 4)], device='cpu'
    )
    for points, stride in zip(places, (4, 8, 16)):
        assert points.min() == stride / 2 and points.max() == 64 - stride / 2
    other = dict(type='mmdet.MlvlPointGenerator', strides=[8, 16, 32])
    with pytest.raises(InputError, match=r'\[8, 16, 32\].*\[4, 8, 16\]'):
        MODELS.build(
            dict(type='YOLOv9Head', head_module=module, prior_generator=other)
        )


def test_auxiliary_branch_is_absent_in_eval():
    model = MODELS.build(model_cfg('t', num_classes=6))
    image = torch.rand(1, 3, 64, 64)
    model.train()
    assert len(model.bbox_head(model.neck(model.backbone(image)))[0]) == 6
    model.eval()
    features = model.neck(model.backbone(image))
    assert len(features) == 3
    assert len(model.bbox_head(features)[0]) == 3


def test_init_follows_torch_and_yolov9():
    """Kaiming uniform with a = sqrt(5) is U(-1/sqrt(fan_in), ...)."""
    torch.manual_seed(0)
    model = MODELS.build(model_cfg('s', num_classes=6))
    model.init_weights()
    conv = model.backbone.stage4[1].main_conv.conv
    bound = conv.in_channels**-0.5
    assert conv.weight.abs().max() <= bound
    assert conv.weight.std().item() == pytest.approx(bound / 3**0.5, rel=0.02)
    for branch in ('head_module', 'aux_head_module'):
        module = getattr(model.bbox_head, branch)
        # log(5 / 6 / (640 / 16)^2) = log(1 / 1920)
        assert module.cls_preds[1][-1].bias.tolist() == pytest.approx(
            [-7.560080] * 6, abs=1e-5
        )
        assert (module.reg_preds[1][-1].bias == 1).all()


@pytest.mark.parametrize(
    ('start', 'learning'), [(None, [True, False, False]), (2.5, [True] * 3)]
)
def test_init_distance__lets_all_levels_learn_small_images(start, learning):
    """Boxes of all sizes in 128 px: YOLOv9 starts with 120, 240 and 480."""
    torch.manual_seed(0)
    cfg = model_cfg('t', num_classes=6, with_aux=False)
    cfg.bbox_head.head_module.init_distance = start
    model = MODELS.build(cfg)
    # mmengine initializes what EMAHook holds already
    held = [x.data_ptr() for x in model.state_dict().values()]
    model.init_weights()
    assert held == [x.data_ptr() for x in model.state_dict().values()]
    head = model.bbox_head
    if start:
        bins = head.head_module.reg_preds[2][-1].bias.view(4, 16).softmax(1)
        # of a geometric distribution, cut at the sixteenth bin
        mean = (bins * torch.arange(16)).sum(1)
        torch.testing.assert_close(
            mean, torch.full((4,), 2.5), atol=0.1, rtol=0
        )
    boxes = [[8, 8, 40, 40], [30, 50, 90, 110], [4, 4, 124, 120]]
    targets = torch.tensor(
        [[0, i, *box] for i, box in enumerate(boxes)]
    ).float()
    metas = [dict(batch_input_shape=(128, 128), img_shape=(128, 128))]
    losses = model.loss(
        torch.rand(1, 3, 128, 128),
        dict(bboxes_labels=targets, img_metas=metas),
    )
    sum(losses.values()).backward()
    found = [
        bool(branch[-1].bias.grad.any())
        for branch in head.head_module.reg_preds
    ]
    assert found == learning


def test_unknown_size_is_named():
    with pytest.raises(ValueError, match=r"backbone\.arch is 'x'.*t, s, m"):
        MODELS.build(dict(type='YOLOv9Backbone', arch='x'))


def test_frozen_stages_of_e_reach_both_trunks():
    with torch.device('meta'):
        backbone = MODELS.build(
            dict(type='YOLOv9Backbone', arch='e', frozen_stages=1)
        )
    backbone.train()
    for trunk in (backbone, backbone.composite):
        frozen = [trunk.stem, trunk.stage1]
        assert not any(p.requires_grad for m in frozen for p in m.parameters())
        assert all(p.requires_grad for p in trunk.stage2.parameters())


def test_head_under_autocast__boxes_and_losses_in_float32():
    """In bfloat16 a mean of 9.0 strides would be known to 1/16 of a stride."""
    torch.manual_seed(0)
    model = MODELS.build(model_cfg('t', num_classes=6))
    model.train()
    boxes = torch.tensor([[0.0, 2, 8, 8, 50, 40]])
    with torch.autocast('cpu', dtype=torch.bfloat16):
        features = model.neck(model.backbone(torch.rand(1, 3, 64, 64)))
        assert features[0].dtype == torch.bfloat16
        outs = model.bbox_head(features)
        losses = model.bbox_head.loss_by_feat(*outs, boxes, [{}])
    cls_scores, bbox_preds, dists = outs
    for score, box, dist in zip(cls_scores, bbox_preds, dists):
        assert score.dtype == box.dtype == dist.dtype == torch.float32
        # (B, H * W, 4, 16) against the mean over the bins 0 to 15
        mean = dist.double().softmax(-1) @ torch.arange(16.0).double()
        torch.testing.assert_close(
            box.flatten(2).transpose(1, 2).double(), mean, rtol=1e-5, atol=1e-5
        )
    assert all(loss.dtype == torch.float32 for loss in losses.values())
