"""DSYMDetector: which of the teacher's boxes the student learns, and how."""

import pytest
import torch
from tiny_branches import (
    batch,
    build,
    mamba,
    second_alone,
    tood,
    total,
    yolov8,
)

from dsym.errors import InputError


def test_filter__judges_what_was_selected():
    model = build(mamba, doubtful=dict(max_iou=1.1))
    model.attach_filter(
        lambda samples, labels: [boxes[:1] for boxes in labels]
    )
    model.loss(*batch())
    sizes = [
        {name: len(x) for name, x in record.stages.items()}
        for record in model.pseudo_records
    ]
    expected = dict(predicted=3, selected=3, filtered=1, doubtful=2)
    assert sizes == 2 * [expected]
    model.attach_filter(None)
    model.attach_filter(lambda samples, labels: [x[:0] for x in labels])
    losses = model.loss(*batch())
    assert not any(key.startswith('unsup') for key in losses)
    assert float(losses['pseudo_boxes']) == 0


def rescore(*scores):
    """A filter before the selection that gives the boxes these scores."""

    def judge(samples, predicted):
        for boxes in predicted:
            boxes.scores = torch.tensor(scores)
        return predicted

    return judge


@pytest.mark.parametrize('detector', [mamba, yolov8])
def test_records__parts_of_the_labels_and_what_is_ignored(detector):
    """The best box is certain, the second uncertain, the third doubtful."""
    knows_weights = detector is mamba
    selector = dict(type='ScoreThreshold', score_thr=0.4)
    if knows_weights:
        selector = dict(type='TwoThresholds', low=0.4, high=0.6)
    model = build(detector, selector=selector, doubtful=dict(max_iou=1.1))
    model.attach_filter(rescore(0.9, 0.5, 0.2), before_selection=True)
    model.loss(*batch())
    for record in model.pseudo_records:
        rows = {name: x.rows.tolist() for name, x in record.stages.items()}
        expected = {key: [0, 1, 2] for key in ('predicted', 'rescored')}
        expected.update(selected=[0, 1])
        if knows_weights:
            expected.update(certain=[0], uncertain=[1], doubtful=[2])
        assert rows == expected
        assert [*rows] == [*expected]


def test_filter_before_selection__gives_the_selector_its_scores():
    def judge(samples, labels):
        labels = rescore(0.9, 0.1, 0.8)(samples, labels)
        labels[1].set_metainfo(dict(refused=True))
        return labels

    model = build(mamba, selector=dict(type='ScoreThreshold', score_thr=0.5))
    model.attach_filter(judge, before_selection=True)
    model.loss(*batch())
    selected = [x.stages['selected'] for x in model.pseudo_records]
    assert [x.rows.tolist() for x in selected] == [[0, 2], [0, 2]]
    # the student hears of it
    assert [x.get('refused', False) for x in selected] == [False, True]


class SecondRefused:
    """A filter of whole images."""

    def keep_images(self, samples):
        return [True, False]

    def __call__(self, samples, labels):
        return labels


def test_refused_images__are_not_in_the_selectors_count():
    """One of two images a step, and its boxes alone, make the thresholds."""
    selector = dict(type='ClassThresholds', boxes_per_image=[1.0] * 6)
    model = build(mamba, selector=selector)
    model.attach_filter(SecondRefused())
    model.loss(*batch())
    assert int(model.selector.images) == 1
    first, second = model.pseudo_records
    shown = first.stages['predicted'].scores.sort().values
    kept = model.selector.scores[model.selector.scores >= 0]
    assert torch.equal(kept.sort().values, shown)
    # what the teacher found is still on record
    assert len(second.stages['predicted']) > 0
    assert len(second.stages['selected']) == 0
    assert second.stages['selected'].refused


def test_filter_before_selection__is_a_stage_of_its_own():
    """What the teacher said stays on record beside what the filter made."""

    def drop(samples, labels):
        labels = [boxes[1:] for boxes in labels]
        for boxes in labels:
            boxes.scores = boxes.scores * 0
        return labels

    model = build(mamba)
    model.attach_filter(drop, before_selection=True)
    model.loss(*batch())
    for record in model.pseudo_records:
        stages = record.stages
        assert [*stages][:3] == ['predicted', 'rescored', 'selected']
        assert (len(stages['predicted']), len(stages['rescored'])) == (3, 2)
        assert (stages['predicted'].scores > 0).all()
        assert (stages['rescored'].scores == 0).all()


def test_filter_before_selection__weights_that_the_head_would_lose():
    model = build(yolov8)

    def weigh(samples, predicted):
        for boxes in predicted:
            boxes.weights = torch.full_like(boxes.scores, 0.5)
        return predicted

    model.attach_filter(weigh, before_selection=True)
    with pytest.raises(InputError, match='knows no weights'):
        model.loss(*batch())


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
    for key in ('unsup_loss_consistency_cls', 'disagreement'):
        assert (key in alone) == ('consistency' in options)
    assert names == [key for key in found if key.startswith('unsup')]
    for name in names:  # half of the images have this loss
        half = float(alone[name]) / 2
        assert float(found[name]) == pytest.approx(half, rel=1e-4), name
        assert half > 0

    model.attach_filter(None)
    model.attach_filter(refuse(0, 1))
    losses = model.loss(*batch())
    assert not any(key.startswith('unsup') for key in losses)


@pytest.mark.parametrize('mix', ['PseudoMixUp', 'PseudoMosaic'])
def test_mix__is_learnt(mix):
    model = build(mamba, mix=dict(type=mix))
    losses = model.loss(*batch(copies_unlabeled=2))
    assert total(losses) > 0


@pytest.mark.parametrize('before_selection', [False, True])
def test_classes__a_filter_brings_no_others_back(before_selection):
    """One that relabels all boxes to a class that is not taught."""
    model = build(mamba, classes=[0, 1])

    def relabel(samples, boxes):
        for found in boxes:
            found.labels[:] = 5
        return boxes

    model.attach_filter(relabel, before_selection)
    losses = model.loss(*batch())
    assert float(losses['pseudo_boxes']) == 0
    assert not any(key.startswith('unsup') for key in losses)


@pytest.mark.parametrize('mix', ['PseudoMixUp', 'PseudoMosaic'])
def test_mix__doubtful_boxes_are_not_taught_to_be_background(mix):
    """Two of three boxes are doubtful, or both are background."""
    losses = []
    for share in (0.0, 1.1):
        model = build(
            mamba,
            mix=dict(type=mix),
            selector=dict(type='ScoreThreshold', score_thr=0.5),
            doubtful=dict(max_iou=1.1, share=share),
        )
        model.attach_filter(rescore(0.9, 0.4, 0.4), before_selection=True)
        losses.append(float(model.loss(*batch())['unsup_loss_cls']))
    ignoring, background = losses
    assert 0 < ignoring < background


def class_gradients(model):
    """Of the last layers for classes, from pseudo-labels alone."""
    losses = model.loss(*batch())
    sum(x for key, x in losses.items() if key == 'unsup_loss_cls').backward()
    return [
        branch[-1].weight.grad.flatten(1)
        for branch in model.student.bbox_head.head_module.cls_preds
    ]


@pytest.mark.parametrize('detector', [mamba, yolov8])
def test_classes__others_have_no_gradient_and_those_the_same(detector):
    free = build(detector)
    free.loss(*batch())
    found = free.pseudo_records[0].stages['predicted'].labels.unique()
    taught = found[:1].tolist()
    others = [label for label in range(6) if label not in taught]
    free = build(detector)
    free.attach_filter(
        lambda samples, boxes: [x[x.labels == taught[0]] for x in boxes],
        before_selection=True,
    )
    model = build(detector, classes=taught)
    for own, expected in zip(class_gradients(model), class_gradients(free)):
        assert expected[others].abs().min() > 0
        assert own[others].abs().max() < 1e-6 * expected.abs().max()
        torch.testing.assert_close(own[taught], expected[taught])
    for record in model.pseudo_records:
        for boxes in record.stages.values():
            assert set(boxes.labels.tolist()) <= set(taught)


@pytest.mark.parametrize(
    ('detector', 'classes', 'message'),
    [
        (mamba, [1, 6], 'from 0 to 5'),
        (mamba, [], 'from 0 to 5'),
        (tood, [1], 'TOODHead is no YOLOv8'),
    ],
)
def test_classes__that_the_head_does_not_have(detector, classes, message):
    with pytest.raises(InputError, match=message):
        build(detector, classes=classes)
