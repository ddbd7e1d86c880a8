"""DSYMDetector: every kind of detector, the scale of its losses."""

import copy
import math
from pathlib import Path

import pytest
import torch
from mmengine.hub import get_config
from mmengine.registry import MODELS
from mmyolo.models.dense_heads import YOLOv8Head
from tiny_branches import (
    DETECTORS,
    SIZE,
    batch,
    build,
    floats,
    mamba,
    rtmdet,
    scoped,
    tood,
    total,
    yolov3,
    yolov8,
)
from tiny_semi import semi_config, train
from two_ranks import on_two_ranks

from dsym.checkpoint_loading import load_and_compare
from dsym.errors import InputError
from dsym.models.detectors.dense_outputs import sums_images

CONSISTENT = dict(consistency=dict(type='ConsistencyLoss', box_thr=0.0))


@pytest.mark.parametrize('detector', DETECTORS)
def test_detector__student_learns_and_teacher_does_not(detector):
    model = build(detector)
    before = copy.deepcopy(model.teacher.state_dict())
    losses = model.loss(*batch())
    loss, _ = model.parse_losses(losses)
    loss.backward()
    assert math.isfinite(loss) and total(losses) > 0
    kinds = {key.split('_')[0] for key in losses}
    assert kinds == {'sup', 'unsup', 'pseudo', 'lambda'}
    assert [len(r.stages['selected']) for r in model.pseudo_records] == [3, 3]
    assert all(p.grad is None for p in model.teacher.parameters())
    grads = [p.grad is not None for p in model.student.parameters()]
    assert sum(grads) > 0.95 * len(grads)
    for key, value in model.teacher.state_dict().items():
        assert torch.equal(value, before[key]), key


@pytest.mark.parametrize('detector', [*DETECTORS, yolov3])
def test_scale__of_pseudo_losses_is_free_of_the_batch_ratio(detector):
    model = build(detector)
    one, more, labeled = (
        build(detector).loss(*batch(*copies))
        for copies in ((1, 1), (1, 2), (2, 1))
    )
    # repeated images have the statistics of one, and its losses
    assert total(more) == pytest.approx(total(one), rel=1e-3)
    factor = 2 if model.sums_images else 1
    assert total(labeled) == pytest.approx(factor * total(one), rel=1e-3)
    sup = {k: v for k, v in labeled.items() if k.startswith('sup')}
    for key, value in sup.items():
        value, once = (
            sum(map(float, x)) if isinstance(x, list) else float(x)
            for x in (value, one[key])
        )
        assert value == pytest.approx(factor * once, rel=1e-3), key


RANKS = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parents[1])!r})
import dsym
from tiny_branches import *

CONSISTENT = {CONSISTENT}

def main(rank):
    found = {{}}
    for detector in (mamba, yolov8, rtmdet):
        options = CONSISTENT if detector is not rtmdet else {{}}
        config = detector()
        config.use_syncbn = False  # it has no CPU code
        model = build(lambda: config, **options)
        found[detector.__name__] = floats(model.loss(*batch()))
    return found
"""


def test_scale__of_all_losses_is_that_of_the_ranks(tmp_path):
    """Of sums over images they double on two ranks, whose mean is taken."""
    ranks, _ = on_two_ranks(RANKS, tmp_path)
    for detector in (mamba, yolov8, rtmdet):
        options = CONSISTENT if detector is not rtmdet else {}
        model = build(detector, **options)
        alone = floats(model.loss(*batch()))
        assert ('unsup_loss_consistency_box' in alone) == bool(options)
        for key, value in alone.items():
            doubles = model.sums_images and 'loss' in key
            expected = pytest.approx((1 + doubles) * value, rel=1e-3)
            for rank in ranks:
                assert rank[detector.__name__][key] == expected, key


def test_hidden_truth__changes_nothing():
    plain = build(mamba).loss(*batch())
    told = build(mamba).loss(*batch(hidden=[[0, 0, 64, 64]]))
    assert {k: float(v) for k, v in plain.items()} == {
        k: float(v) for k, v in told.items()
    }


def test_labelled_batch_alone__has_supervised_losses_only():
    model = build(mamba)
    inputs, samples = batch()
    losses = model.loss(dict(sup=inputs['sup']), dict(sup=samples['sup']))
    assert all(key.startswith('sup_') for key in losses)
    assert model.pseudo_records == [] and int(model.unsup_steps) == 0


def test_boxes__in_pixels_of_the_original_and_of_the_other_view():
    model = build(mamba)
    inputs, samples = batch()
    for view in samples['unsup_student']:  # not flipped: twice the original
        view.set_metainfo(
            dict(homography_matrix=torch.diag(torch.tensor([2.0, 2, 1])))
        )
    outs, labels, _ = model.pseudo_label(
        inputs['unsup_teacher'], samples['unsup_teacher']
    )
    moved = model.project(labels, samples['unsup_student'])
    for boxes, view in zip(labels, moved):
        assert boxes.bboxes.max() <= 32
        torch.testing.assert_close(view.bboxes, 2 * boxes.bboxes)
    head = model.teacher.bbox_head
    meta = dict(ori_shape=(64, 64), scale_factor=(1.0, 1.0))
    seen = head.predict_by_feat(
        *outs,
        batch_img_metas=[meta, meta],
        cfg=model.pseudo_cfg,
        rescale=False,
    )
    x1, y1, x2, y2 = seen[0].bboxes.unbind(1)
    mirrored = torch.stack([64 - x2, y1, 64 - x1, y2], 1) / 2
    torch.testing.assert_close(
        labels[0].bboxes, mirrored, atol=1e-4, rtol=1e-4
    )


def test_unsup_weight__rises_with_the_unsupervised_steps():
    model = build(mamba, ramp_steps=4, unsup_weight=2.0)
    model.unsup_steps += 2
    assert model.unsup_weight() == pytest.approx(2 * math.exp(-5 / 4))
    told = model.loss(*batch())['lambda_unsup']
    assert float(told) == pytest.approx(2 * math.exp(-5 / 4))
    model.unsup_steps += 1
    assert model.unsup_weight() == 2


def confident():
    model = mamba()
    model.bbox_head.head_module.with_confidence = True
    return model


@pytest.mark.parametrize('detector', [confident, rtmdet])
def test_box_weight__of_pseudo_labels_alone(detector):
    """Half of the terms, or none of them; classes stay as they are."""
    found = {}
    for weight in (1.0, 0.5, 0.0):
        with torch.no_grad():
            found[weight] = build(detector, box_weight=weight).loss(*batch())
    names = 'bbox', 'dfl', 'conf'  # how well a box fits
    terms = [x for x in found[1.0] if any(name in x for name in names)]
    assert ('unsup_loss_conf' in terms) == (detector is confident)
    assert {x.split('_')[0] for x in terms} == {'sup', 'unsup'}

    def value(weight, key):
        loss = found[weight].get(key, 0.0)
        return float(sum(loss) if isinstance(loss, list) else loss)

    for key in found[1.0]:
        whole = value(1.0, key)
        for weight in (0.5, 0.0):
            share = weight if key in terms and 'unsup' in key else 1
            expected = pytest.approx(share * whole, rel=1e-4, abs=1e-6)
            assert value(weight, key) == expected, key


def test_plain_checkpoint__fits_student_and_teacher():
    plain = MODELS.build(mamba())
    model = build(mamba)
    _, missing, mismatched = load_and_compare(model, plain.state_dict())
    assert missing == mismatched == []
    for part in (model.student, model.teacher):
        found = part.state_dict()
        for key, value in plain.state_dict().items():
            assert torch.equal(found[key], value)
    assert not model.loaded_teacher
    whole = build(mamba).state_dict()
    load_and_compare(model, whole)
    assert model.loaded_teacher


def test_own_checkpoint__keeps_steps_and_thresholds():
    selector = dict(type='MixtureThreshold', num_classes=6)
    model, other = (build(mamba, selector=selector) for _ in range(2))
    model.unsup_steps += 7
    model.selector.thresholds[2] = 0.33
    other.load_state_dict(model.state_dict())
    assert int(other.unsup_steps) == 7
    assert float(other.selector.thresholds[2]) == pytest.approx(0.33)


@pytest.mark.parametrize(
    'selector',
    [
        dict(type='ScoreThreshold'),
        dict(type='MixtureThreshold', num_classes=6),
        dict(type='ClassThresholds', boxes_per_image=[1] * 6),
    ],
)
def test_begin_anew__as_built_but_for_the_detectors(selector):
    model, other = (build(mamba, selector=selector) for _ in range(2))
    first = {k: v.clone() for k, v in other.state_dict().items()}
    for value in model.state_dict().values():
        value.add_(1)
    other.load_state_dict(model.state_dict())
    other.begin_anew()
    for key, value in other.state_dict().items():
        detector = key.startswith(('student.', 'teacher.'))
        expected = first[key] + 1 if detector else first[key]
        torch.testing.assert_close(value, expected)


def test_mode__teacher_predicts_also_in_training():
    model = build(mamba)
    assert model.student.training and not model.teacher.training


def test_view_without_homography__names_the_remedy():
    inputs, samples = batch()
    for view in samples['unsup_teacher']:
        view.pop('homography_matrix')
    with pytest.raises(InputError, match='TrackedLetterResize'):
        build(mamba).loss(inputs, samples)


def test_consistency__needs_distributions():
    with pytest.raises(InputError, match='consistency'):
        build(tood, consistency=dict(type='ConsistencyLoss'))


def test_consistency_and_mix__exclude_each_other():
    with pytest.raises(InputError, match='mix'):
        build(
            mamba,
            consistency=dict(type='ConsistencyLoss'),
            mix=dict(type='PseudoMixUp'),
        )


def test_weights__need_a_head_that_knows_them():
    with pytest.raises(InputError, match='knows no weights'):
        build(yolov8, selector=dict(type='TwoThresholds'))


def test_weights__need_an_assigner_that_tells_the_boxes():
    def stock():
        model = mamba()
        model.train_cfg.assigner.type = 'mmyolo.BatchTaskAlignedAssigner'
        return model

    with pytest.raises(InputError, match='SparseTaskAlignedAssigner'):
        build(stock, selector=dict(type='TwoThresholds'))


@pytest.mark.parametrize(
    'selector',
    [
        dict(type='MixtureThreshold', num_classes=5),
        dict(type='ClassThresholds', boxes_per_image=[0.5] * 5),
    ],
)
def test_selector__for_other_classes(selector):
    with pytest.raises(InputError, match=r'for 5 classes, .* for 6'):
        build(mamba, selector=selector)


def test_unknown_setting__is_named():
    with pytest.raises(InputError, match=r'cls_pseudo_thr: .*ScoreThreshold'):
        build(mamba, cls_pseudo_thr=0.9)


@pytest.mark.parametrize(
    'settings, message',
    [
        (dict(pseudo_test_cfg=dict(score_threshold=0.5)), 'score_threshold'),
        (dict(doubtful=dict(shares=0.5)), 'doubtful knows no shares'),
    ],
)
def test_unknown_inner_setting__is_named(settings, message):
    with pytest.raises(InputError, match=message):
        build(mamba, **settings)


def test_predict_on__neither_student_nor_teacher():
    with pytest.raises(InputError, match=r"predict_on='Teacher'"):
        MODELS.build(
            dict(
                type='DSYMDetector',
                detector=mamba(),
                semi_test_cfg=dict(predict_on='Teacher'),
            )
        )


class OwnHead(YOLOv8Head):
    """A user's, with losses of its own."""

    def loss_by_feat(self, *args, **kwargs):
        return super().loss_by_feat(*args, **kwargs)


def test_scale__that_nobody_knows_is_asked_for(logged):
    head = build(yolov8).student.bbox_head
    assert sums_images(head)
    head.__class__ = OwnHead
    assert not sums_images(head)
    assert 'OwnHead: whether its losses grow' in logged[-1]


def test_mosaic__heads_are_told_its_size(monkeypatch):
    """Anchors beyond an image's own size are left out by mmdet's."""
    model = build(tood, mix=dict(type='PseudoMosaic'))
    inputs, samples = batch()
    for view in samples['unsup_student']:
        view.set_metainfo(dict(img_shape=(SIZE, 32), pad_shape=(SIZE, 32)))
    told = []
    head = model.student.bbox_head
    loss = head.loss_by_feat

    def see(*args):
        told.extend(args[-2])
        return loss(*args)

    monkeypatch.setattr(head, 'loss_by_feat', see)
    model.loss(inputs, samples)
    mixed = [x for x in told if x['img_id'] in (2, 3)]
    assert len(mixed) == 2
    for meta in mixed:
        for key in ('img_shape', 'pad_shape', 'batch_input_shape'):
            assert meta[key] == (SIZE, SIZE)


def test_filter__is_no_part_of_the_weights():
    model = build(mamba)
    keys = model.state_dict().keys()
    model.attach_filter(torch.nn.Linear(2, 2))
    assert model.state_dict().keys() == keys


def test_filter__another_would_judge_no_more():
    model = build(mamba)
    model.attach_filter(torch.nn.Identity())
    with pytest.raises(InputError, match='TrueLabelsHook and CLIPFilterHook'):
        model.attach_filter(torch.nn.Identity())
    model.attach_filter(None)
    model.attach_filter(torch.nn.Identity())


def test_two_stage_detector__is_refused():
    def faster_rcnn():
        model = get_config(
            'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py'
        ).model
        model.backbone.init_cfg = None
        return scoped(model, 'mmdet')

    with pytest.raises(InputError, match='one-stage'):
        build(faster_rcnn)


def test_stock_sampler_and_loop__train_it(tmp_path):
    config = semi_config(tmp_path)
    labeled = config.train_dataloader.dataset.to_dict()
    unlabeled = config.train_cfg.unlabeled_dataloader.dataset.to_dict()
    config.train_dataloader = dict(
        batch_size=4,
        num_workers=0,
        collate_fn=dict(type='pseudo_collate'),
        sampler=dict(
            type='mmdet.GroupMultiSourceSampler',
            batch_size=4,
            source_ratio=[1, 1],
        ),
        dataset=dict(type='ConcatDataset', datasets=[labeled, unlabeled]),
    )
    config.pop('train_cfg')
    config.train_cfg = dict(
        type='IterBasedTrainLoop', max_iters=2, val_interval=10
    )
    config.param_scheduler = None
    config.default_hooks.checkpoint.by_epoch = False
    config.log_processor = dict(by_epoch=False)
    config.custom_hooks = [
        dict(type='mmdet.MeanTeacherHook', skip_buffer=False)
    ]
    _, steps = train(config)
    assert [
        len(s['images'][b]) for s in steps for b in sorted(s['images'])
    ] == ([2] * 6)
    assert all('unsup_loss_cls' in s['outputs'] for s in steps)
