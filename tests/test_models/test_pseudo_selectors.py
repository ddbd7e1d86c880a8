"""Which of the teacher's boxes the student learns from."""

import numpy as np
import pytest
import torch
from mmengine.registry import TASK_UTILS
from mmengine.structures import InstanceData

from dsym.errors import InputError
from dsym.models.task_modules import ClassThresholds
from dsym.models.task_modules.pseudo_selectors import split_by_mixture


def build(kind, **settings):
    return TASK_UTILS.build(dict(type=kind, **settings))


def boxes(scores, label=0):
    scores = torch.as_tensor(scores, dtype=torch.float32)
    return InstanceData(
        bboxes=torch.arange(4.0 * len(scores)).view(-1, 4),
        scores=scores,
        labels=torch.full((len(scores),), label),
    )


def test_score_threshold():
    kept = build('ScoreThreshold', score_thr=0.5)(boxes([0.75, 0.25, 0.5]))
    assert kept.scores.tolist() == [0.75, 0.5]
    assert kept.bboxes[:, 0].tolist() == [0, 8]
    assert 'weights' not in kept
    assert len(build('ScoreThreshold')(boxes([]))) == 0


def test_score_threshold__by_the_confidence_of_the_box():
    given = boxes([0.75, 0.25, 0.5])
    select = build('ScoreThreshold', score_thr=0.5, by='confidences')
    with pytest.raises(InputError, match='with_confidence=True'):
        select(given)
    given.confidences = torch.tensor([0.25, 0.625, 0.5])
    assert select(given).scores.tolist() == [0.25, 0.5]


def test_two_thresholds():
    """Below 0.25 nothing, from 0.5 on all, in between the score."""
    given = boxes([0.125, 0.25, 0.375, 0.5, 0.875])
    kept = build('TwoThresholds', low=0.25, high=0.5)(given)
    assert kept.scores.tolist() == [0.25, 0.375, 0.5, 0.875]
    assert kept.weights.tolist() == [0.25, 0.375, 1, 1]
    assert 'weights' not in given
    assert len(build('TwoThresholds')(boxes([])).weights) == 0


def test_two_thresholds__exchanged():
    with pytest.raises(InputError, match=r'low=0\.7 is above high=0\.6'):
        build('TwoThresholds', low=0.7)


def clusters(low, high, count=200, seed=0):
    rng = np.random.default_rng(seed)
    return np.clip(rng.normal([low, high], 0.03, (count, 2)), 0, 1).T


@pytest.mark.parametrize('low, high', [(0.2, 0.8), (0.1, 0.5), (0.5, 0.9)])
def test_split_of_two_clusters(low, high):
    """More than 10 deviations apart: the least of the upper one."""
    wrong, right = clusters(low, high)
    assert wrong.max() < right.min()
    found = split_by_mixture(np.concatenate([right, wrong]))
    assert found == pytest.approx(right.min())


def test_split_of_unequal_clusters():
    """Nine wrong boxes for every right one."""
    wrong, right = clusters(0.2, 0.8)
    values = np.concatenate([wrong, right[:22]])
    assert split_by_mixture(values) == pytest.approx(right[:22].min())


def test_split_of_a_narrow_and_a_wide_cluster():
    """The wide one's tail below the narrow one is not where it begins."""
    rng = np.random.default_rng(0)
    narrow, wide = rng.normal(0.5, 0.004, 200), rng.normal(0.7, 0.1, 200)
    assert wide.min() < 0.48
    assert split_by_mixture(np.concatenate([narrow, wide])) > 0.5


def test_split_where_there_is_one_value():
    assert split_by_mixture(np.full(20, 0.5)) == pytest.approx(0.5)


def test_split_of_overlapping_clusters():
    """Equal shares and widths: the middle, by symmetry."""
    rng = np.random.default_rng(1)
    half = rng.normal(0.35, 0.06, 4000)
    found = split_by_mixture(np.concatenate([half, 1 - half]))
    assert found == pytest.approx(0.5, abs=0.01)


def fitted(**settings):
    """After 32 images with clusters that differ between two classes."""
    selector = build(
        'MixtureThreshold', num_classes=3, interval=32, **settings
    )
    wrong = [clusters(*c, count=64) for c in ((0.2, 0.8), (0.1, 0.5))]
    for image in range(32):
        part = slice(2 * image, 2 * image + 2)
        selector(
            InstanceData.cat(
                [
                    boxes(cluster[part], label)
                    for label, both in enumerate(wrong)
                    for cluster in both
                ]
            )
        )
    return selector, wrong


def test_mixture__each_class_has_a_threshold():
    selector, scores = fitted()
    first, second, unseen = selector.thresholds.tolist()
    assert first == pytest.approx(scores[0][1].min())
    assert second == pytest.approx(scores[1][1].min())
    assert first > 0.7
    assert second < 0.5
    assert unseen == 0.5
    given = InstanceData.cat([boxes([0.65, 0.9], i) for i in range(3)])
    kept = selector(given)
    assert kept.scores.tolist() == pytest.approx([0.9, 0.65, 0.9, 0.65, 0.9])
    assert kept.labels.tolist() == [0, 1, 1, 2, 2]


def test_mixture__start_until_the_first_fit():
    selector = build('MixtureThreshold', num_classes=1, interval=3, start=0.4)
    wrong, right = clusters(0.6, 0.9, count=20)
    everything = np.concatenate([wrong, right])
    for _ in range(2):
        assert len(selector(boxes(everything))) == 40
    assert len(selector(boxes(everything))) == 20


def test_mixture__few_scores_are_not_fitted():
    for count, fits in ((15, False), (16, True)):
        selector = build('MixtureThreshold', num_classes=1, interval=1)
        selector(boxes(np.linspace(0.6, 0.9, count)))
        assert bool(selector.thresholds != 0.5) is fits


def test_mixture__bounds():
    selector, _ = fitted(bounds=(0.55, 0.6))
    assert selector.thresholds.tolist() == pytest.approx([0.6, 0.55, 0.5])


def test_mixture__forgets_the_oldest():
    """20 old scores of 0.9 leave a ring of 32 that 32 new ones pass."""
    selector = build(
        'MixtureThreshold', num_classes=1, capacity=32, interval=2
    )
    selector(boxes([0.9] * 20))
    new = np.concatenate(clusters(0.3, 0.6, count=16))
    selector(boxes(new))
    assert sorted(selector.scores[0].tolist()) == pytest.approx(sorted(new))
    assert selector.thresholds.item() == pytest.approx(
        clusters(0.3, 0.6, count=16)[1].min()
    )


def test_mixture__state_is_restored():
    """Between two fits: the next is after 64 images for both."""
    selector, _ = fitted()
    given = boxes([0.35, 0.4, 0.95], 1)
    for _ in range(10):
        selector(given)
    before = selector.thresholds.clone()
    other = build('MixtureThreshold', num_classes=3, interval=32)
    other.load_state_dict(selector.state_dict())
    for image in range(22):
        assert torch.equal(selector.thresholds, before), image
        selector(given)
        other(given)
    assert selector.thresholds[1] != before[1]
    for name, value in selector.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


def boxes_of(labels, scores):
    boxes = InstanceData(bboxes=torch.zeros(len(labels), 4))
    boxes.labels, boxes.scores = torch.tensor(labels), torch.tensor(scores)
    return boxes


def test_class_thresholds__as_many_boxes_as_labelled_images_have():
    generator = torch.Generator().manual_seed(0)
    # class 0 is never above 0.5, class 1 mostly above
    selector = ClassThresholds(window=64, start=0.4)
    selector.set_labeled([2.0, 0.5])
    kept = torch.zeros(2)
    for image in range(320):
        draw = torch.rand(20, generator=generator)
        labels = [0] * 10 + [1] * 10
        scores = [*(draw[:10] / 2).tolist(), *draw[10:].tolist()]
        chosen = selector(boxes_of(labels, scores))
        if image >= 64:
            kept += torch.bincount(chosen.labels, minlength=2)
    # uniform scores: the best 2 of 10 are above 0.4, the best 0.5 of 10
    # above 0.95
    assert selector.threshold(0) == pytest.approx(0.4, abs=0.03)
    assert selector.threshold(1) == pytest.approx(0.95, abs=0.03)
    assert kept[0] / 256 == pytest.approx(2.0, rel=0.1)
    assert kept[1] / 256 == pytest.approx(0.5, rel=0.2)


def test_class_thresholds__best_half_counts_fully():
    selector = ClassThresholds([4.0], window=8)
    scores = [0.9, 0.8, 0.7, 0.6, 0.3, 0.2]
    for _ in range(8):
        chosen = selector(boxes_of([0] * 6, scores))
    assert chosen.scores.tolist() == pytest.approx(scores[:4])
    assert chosen.weights.tolist() == pytest.approx([1, 1, 0.7, 0.6])


def test_class_thresholds__before_there_are_enough_images():
    selector = ClassThresholds([4.0], window=8, start=0.65)
    chosen = selector(boxes_of([0] * 3, [0.9, 0.7, 0.6]))
    assert len(chosen) == 2


def test_class_thresholds__none_below_the_lowest():
    selector = ClassThresholds([9.0], window=4, lowest=0.25)
    for _ in range(4):
        chosen = selector(boxes_of([0] * 3, [0.9, 0.3, 0.2]))
    assert len(chosen) == 2


def test_class_thresholds__need_to_know_the_labelled_images():
    with pytest.raises(InputError, match='boxes_per_image'):
        ClassThresholds()(boxes_of([0], [0.9]))


def test_class_thresholds__state_is_restored():
    selector, other = (ClassThresholds([1.0], window=4) for _ in range(2))
    for _ in range(4):
        selector(boxes_of([0, 0], [0.9, 0.55]))
    other.load_state_dict(selector.state_dict())
    assert other.threshold(0) == selector.threshold(0) == pytest.approx(0.9)


def test_class_thresholds__refused_images_do_not_count():
    """With every second image refused they are those of the others alone."""
    alone, among = (ClassThresholds([1.0], window=8) for _ in range(2))
    generator = torch.Generator().manual_seed(0)
    for scores in torch.rand(12, 5, generator=generator):
        shown = boxes_of([0] * 5, scores.tolist())
        refused = shown[:0]
        refused.set_metainfo(dict(refused=True))
        expected = alone(shown)
        chosen = among(shown)
        assert len(among(refused)) == 0
        assert chosen.scores.tolist() == expected.scores.tolist()
        assert chosen.weights.tolist() == expected.weights.tolist()
    assert among.threshold(0) == alone.threshold(0)
    assert int(among.images) == 12


@pytest.mark.parametrize(
    ('kind', 'settings', 'message'),
    [
        ('ScoreThreshold', dict(score_thr=50), 'score_thr=50: give a number'),
        ('ScoreThreshold', dict(score_thr='a'), "score_thr='a': give a numb"),
        ('TwoThresholds', dict(low=-0.1), 'low=-0.1: give a number'),
        ('TwoThresholds', dict(high=1.5), 'high=1.5: give a number'),
        ('MixtureThreshold', dict(start=2), 'start=2: give a number'),
        ('MixtureThreshold', dict(bounds=(0, 9)), 'highest=9: give a number'),
        ('MixtureThreshold', dict(interval=0), 'interval=0: give 1 or more'),
        ('MixtureThreshold', dict(capacity=0.5), 'capacity=0.5: give 1 or'),
        ('MixtureThreshold', dict(bounds=(0, 1, 1)), 'bounds=.*: give two'),
        ('MixtureThreshold', dict(bounds=0.2), 'bounds=0.2: give two'),
        ('MixtureThreshold', dict(num_classes=-1), 'num_classes=-1: give 1'),
        ('ClassThresholds', dict(boxes_per_image=1), 'boxes_per_image=1: giv'),
        ('ClassThresholds', dict(boxes_per_image='a'), '.*=.a.: give a list'),
        ('ClassThresholds', dict(boxes_per_image=[1, -1]), '.*-1]: give a l'),
        ('ClassThresholds', dict(certain='b'), "certain='b': give a number"),
        ('ClassThresholds', dict(window=0), 'window=0: give 1 or more'),
    ],
)
def test_setting_out_of_its_range__one_line(kind, settings, message):
    more = dict(num_classes=1) if kind == 'MixtureThreshold' else {}
    with pytest.raises(InputError, match=f'^{kind}: {message}'):
        build(kind, **more | settings)
