"""DSYMDetector: every kind of detector, the scale of its losses, filters."""

import copy
import math

import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.hub import get_config
from mmengine.logging import MessageHub
from mmengine.registry import MODELS
from mmengine.structures import InstanceData
from tiny_semi import CONFIGS, semi_config, train

from dsym.engine.preflight_hook import checkpoint_fit
from dsym.errors import InputError

SIZE = 64
EVERYTHING = dict(
    pseudo_test_cfg=dict(score_thr=0.0, max_per_img=3),
    selector=dict(type='ScoreThreshold', score_thr=0.0),
)


def mamba():
    return Config.fromfile(CONFIGS / '_base_/models/yolov9_t_mamba.py').model


def of_mmyolo(path):
    """A stock config of mmyolo with six classes, from scratch."""
    model = get_config(f'mmyolo::{path}').model
    model.bbox_head.head_module.num_classes = 6
    model.train_cfg.assigner.num_classes = 6
    model.backbone.init_cfg = None
    return scoped(model, 'mmyolo')


def yolov8():
    return of_mmyolo('yolov8/yolov8_n_syncbn_fast_8xb16-500e_coco.py')


def mmyolo_rtmdet():
    return of_mmyolo('rtmdet/rtmdet_tiny_syncbn_fast_8xb32-300e_coco.py')


def rtmdet():
    model = get_config('mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py').model
    model.bbox_head.num_classes = 6
    model.backbone.init_cfg = None
    return scoped(model, 'mmdet')


def tood():
    model = get_config('mmdet::tood/tood_r50_fpn_1x_coco.py').model
    model.backbone.update(
        depth=18, init_cfg=None, frozen_stages=-1, norm_eval=False
    )
    model.neck.in_channels = [64, 128, 256, 512]
    model.bbox_head.num_classes = 6
    return scoped(model, 'mmdet')


def scoped(model, scope):
    """The config with its scope, and batch norm that a CPU has."""
    text = Config(dict(model=model)).model
    text['_scope_'] = scope

    def no_sync(node):
        for value in node.values() if isinstance(node, dict) else node:
            if isinstance(value, (dict, list, tuple)):
                no_sync(value)
        if isinstance(node, dict) and node.get('type') == 'SyncBN':
            node['type'] = 'BN'

    no_sync(text)
    return text


DETECTORS = [mamba, yolov8, mmyolo_rtmdet, rtmdet, tood]


def build(detector, **semi_train_cfg):
    torch.manual_seed(0)
    model = MODELS.build(
        dict(
            type='DSYMDetector',
            detector=detector(),
            semi_train_cfg={**EVERYTHING, **semi_train_cfg},
        )
    )
    model.init_weights()
    for name, layer in model.named_modules():
        # RTMDet's distances start at 0: boxes without area
        if 'rtm_reg' in name and getattr(layer, 'bias', None) is not None:
            torch.nn.init.constant_(layer.bias, 2.0)
    # TOOD's head asks for the epoch
    MessageHub.get_current_instance().update_info('epoch', 5)
    return model.train()


def sample(image, boxes=()):
    """A sample at 64 px of an original of 32 px, flipped."""
    flip = torch.tensor([[-2.0, 0, SIZE], [0, 2, 0], [0, 0, 1]])
    data = DetDataSample(
        metainfo=dict(
            img_path=f'{image}.jpg',
            img_id=image,
            img_shape=(SIZE, SIZE),
            batch_input_shape=(SIZE, SIZE),
            pad_shape=(SIZE, SIZE),
            ori_shape=(32, 32),
            scale_factor=(2.0, 2.0),
            homography_matrix=flip.numpy(),
        )
    )
    data.gt_instances = InstanceData(
        bboxes=torch.tensor(boxes).reshape(-1, 4).float(),
        labels=torch.arange(len(boxes)) % 6,
    )
    return data


def batch(copies=1, copies_unlabeled=1, hidden=()):
    """Two labelled and two unlabelled images, repeated."""
    generator = torch.Generator().manual_seed(1)
    images = torch.rand(3, 2, 3, SIZE, SIZE, generator=generator)
    truth = [[[4, 6, 40, 30]], [[10, 10, 60, 50], [2, 30, 20, 60]]]
    inputs = dict(
        sup=images[0].repeat(copies, 1, 1, 1),
        unsup_teacher=images[1].repeat(copies_unlabeled, 1, 1, 1),
        unsup_student=images[2].repeat(copies_unlabeled, 1, 1, 1),
    )
    samples = dict(
        sup=[sample(i, truth[i]) for _ in range(copies) for i in (0, 1)],
        **{
            branch: [
                sample(i, hidden)
                for _ in range(copies_unlabeled)
                for i in (2, 3)
            ]
            for branch in ('unsup_teacher', 'unsup_student')
        },
    )
    return inputs, samples


def second_alone():
    """The batch without its first unlabelled image."""
    inputs, samples = batch()
    for branch in ('unsup_teacher', 'unsup_student'):
        inputs[branch] = inputs[branch][1:]
        samples[branch] = samples[branch][1:]
    return inputs, samples


def total(losses):
    return sum(
        float(sum(v) if isinstance(v, list) else v)
        for k, v in losses.items()
        if k.startswith('unsup') and 'loss' in k
    )


@pytest.mark.parametrize('detector', DETECTORS)
def test_detector__student_learns_and_teacher_does_not(detector):
    model = build(detector)
    before = copy.deepcopy(model.teacher.state_dict())
    losses = model.loss(*batch())
    loss, _ = model.parse_losses(losses)
    loss.backward()
    assert math.isfinite(loss) and total(losses) > 0
    assert {k.split('_')[0] for k in losses} == {'sup', 'unsup', 'pseudo'}
    assert [len(r.stages['selected']) for r in model.pseudo_records] == [3, 3]
    assert all(p.grad is None for p in model.teacher.parameters())
    grads = [p.grad is not None for p in model.student.parameters()]
    assert sum(grads) > 0.95 * len(grads)
    for key, value in model.teacher.state_dict().items():
        assert torch.equal(value, before[key]), key


@pytest.mark.parametrize('detector', DETECTORS)
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


def test_filter__judges_what_was_selected():
    model = build(mamba)
    model.attach_filter(
        lambda samples, labels: [boxes[:1] for boxes in labels]
    )
    model.loss(*batch())
    sizes = [
        {name: len(x) for name, x in record.stages.items()}
        for record in model.pseudo_records
    ]
    assert sizes == 2 * [dict(predicted=3, selected=3, filtered=1)]
    model.attach_filter(lambda samples, labels: [x[:0] for x in labels])
    losses = model.loss(*batch())
    assert not any('unsup' in key for key in losses)
    assert float(losses['pseudo_boxes']) == 0


def test_filter_before_selection__gives_the_selector_its_scores():
    def rescore(samples, labels):
        for boxes in labels:
            boxes.scores = torch.tensor([0.9, 0.1, 0.8])
        labels[1].set_metainfo(dict(refused=True))
        return labels

    model = build(mamba, selector=dict(type='ScoreThreshold', score_thr=0.5))
    model.attach_filter(rescore, before_selection=True)
    model.loss(*batch())
    selected = [x.stages['selected'] for x in model.pseudo_records]
    assert [x.rows.tolist() for x in selected] == [[0, 2], [0, 2]]
    # the student hears of it
    assert [x.get('refused', False) for x in selected] == [False, True]


def test_doubtful_boxes__are_not_taught_to_be_background():
    model = build(mamba, doubtful=dict(max_iou=1.1))
    model.attach_filter(lambda samples, labels: [x[:1] for x in labels])
    inputs, samples = batch()
    ignoring = float(model.loss(inputs, samples)['unsup_loss_cls'])
    for view in samples['unsup_student']:
        assert len(view.ignored_instances) == 2  # of the three predicted
    other = build(mamba, pseudo_test_cfg=dict(score_thr=0.0, max_per_img=1))
    inputs, samples = batch()
    background = float(other.loss(inputs, samples)['unsup_loss_cls'])
    assert all(len(v.ignored_instances) == 0 for v in samples['unsup_student'])
    assert ignoring < background


def test_filter__weight_of_0_has_no_box_loss():
    model = build(mamba)

    def doubt(samples, labels):
        for boxes in labels:
            boxes.weights = boxes.scores.new_zeros(len(boxes))
        return labels

    model.attach_filter(doubt)
    losses = model.loss(*batch())
    assert float(losses['unsup_loss_bbox']) == 0
    assert float(losses['unsup_loss_dfl']) == 0


def test_images_without_boxes__are_background_only_on_demand():
    def drop_first(samples, labels):
        return [labels[0][:0], labels[1]]

    values = []
    for empty_images in (False, True):
        model = build(mamba, empty_images=empty_images)
        model.attach_filter(drop_first)
        values.append(float(model.loss(*batch())['unsup_loss_cls']))
    alone = float(build(mamba).loss(*second_alone())['unsup_loss_cls'])
    # half of the images have this loss
    assert values[0] == pytest.approx(alone / 2, rel=1e-4)
    assert values[1] != pytest.approx(alone / 2, rel=1e-2)


@pytest.mark.parametrize(
    'options',
    [
        dict(),
        dict(empty_images=True),
        dict(consistency=dict(type='ConsistencyLoss', box_thr=0.0)),
    ],
)
def test_refused_images__teach_nothing(options):
    def refuse(*images):
        def mark(samples, labels):
            for i in images:
                labels[i].set_metainfo(dict(refused=True))
            return labels

        return mark

    model = build(mamba, **options)
    model.attach_filter(refuse(0))
    found = model.loss(*batch())
    alone = build(mamba, **options).loss(*second_alone())
    names = [key for key in alone if key.startswith('unsup')]
    assert ('unsup_loss_consistency_cls' in names) == (
        'consistency' in options
    )
    assert names == [key for key in found if key.startswith('unsup')]
    for name in names:  # half of the images have this loss
        half = float(alone[name]) / 2
        assert float(found[name]) == pytest.approx(half, rel=1e-4), name
        assert half > 0

    model.attach_filter(refuse(0, 1))
    losses = model.loss(*batch())
    assert not any(key.startswith('unsup') for key in losses)


def test_ramp__gaussian_over_its_steps():
    model = build(mamba, ramp_steps=4, unsup_weight=2.0)
    weights = []
    for _ in range(6):
        weights.append(model.unsup_weight())
        model.unsup_steps += 1
    expected = [2 * math.exp(-5 * (1 - t / 4) ** 2) for t in range(4)]
    assert weights == pytest.approx([*expected, 2, 2])


@pytest.mark.parametrize('detector', [mamba, rtmdet])
def test_box_weight__of_pseudo_labels_alone(detector):
    """Half of the terms, or none of them; classes stay as they are."""
    found = {}
    for weight in (1.0, 0.5, 0.0):
        with torch.no_grad():
            found[weight] = build(detector, box_weight=weight).loss(*batch())
    terms = [x for x in found[1.0] if 'bbox' in x or 'dfl' in x]
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
    _, missing, mismatched = checkpoint_fit(model, plain.state_dict())
    assert missing == mismatched == []
    for part in (model.student, model.teacher):
        found = part.state_dict()
        for key, value in plain.state_dict().items():
            assert torch.equal(found[key], value)
    assert not model.loaded_teacher
    whole = build(mamba).state_dict()
    checkpoint_fit(model, whole)
    assert model.loaded_teacher


def test_own_checkpoint__keeps_steps_and_thresholds():
    selector = dict(type='MixtureThreshold', num_classes=6)
    model, other = (build(mamba, selector=selector) for _ in range(2))
    model.unsup_steps += 7
    model.selector.thresholds[2] = 0.33
    other.load_state_dict(model.state_dict())
    assert int(other.unsup_steps) == 7
    assert float(other.selector.thresholds[2]) == pytest.approx(0.33)


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


@pytest.mark.parametrize('mix', ['PseudoMixUp', 'PseudoMosaic'])
def test_mix__is_learnt(mix):
    model = build(mamba, mix=dict(type=mix))
    losses = model.loss(*batch(copies_unlabeled=2))
    assert total(losses) > 0


def test_weights__need_a_head_that_knows_them():
    with pytest.raises(InputError, match='knows no weights'):
        build(yolov8, selector=dict(type='TwoThresholds'))


def test_filter__is_no_part_of_the_weights():
    model = build(mamba)
    keys = model.state_dict().keys()
    model.attach_filter(torch.nn.Linear(2, 2))
    assert model.state_dict().keys() == keys


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
