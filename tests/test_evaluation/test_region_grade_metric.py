"""RegionGradeMetric: AUROC against a count over all pairs."""

import math

import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData

from dsym.evaluation import RegionGradeMetric
from dsym.evaluation.region_grade_metric import auroc


def over_pairs(right, wrong):
    """Share of pairs with the right one higher; ties count half."""
    wins = [
        1.0 if a > b else 0.5 if a == b else 0.0 for a in right for b in wrong
    ]
    return sum(wins) / len(wins) if wins else math.nan


def images(classes=3, ties=False, number=6):
    rng = np.random.default_rng(0)
    found = []
    for _ in range(number):
        ious = rng.choice([0, 0.2, 0.49, 0.5, 0.8], 9)
        grades = rng.random((9, classes))
        if ties:
            grades = grades.round(1)
        found.append(
            dict(
                regions=InstanceData(
                    grades=torch.from_numpy(grades),
                    labels=torch.from_numpy(rng.integers(0, classes, 9)),
                    ious=torch.from_numpy(ious),
                )
            )
        )
    return found


def measure(samples):
    metric = RegionGradeMetric()
    for sample in samples:
        metric.process({}, [sample])
    return metric.evaluate(len(samples))


@pytest.mark.parametrize('ties', [False, True])
def test_auroc__is_the_count_over_pairs(ties):
    rng = np.random.default_rng(1)
    scores, right = rng.random(60), rng.random(60) < 0.4
    if ties:
        scores = scores.round(1)
    assert auroc(scores, right) == pytest.approx(
        over_pairs(scores[right], scores[~right])
    )
    assert auroc(-scores, right) == pytest.approx(1 - auroc(scores, right))


@pytest.mark.parametrize('right', [[True, True], [False, False], []])
def test_auroc__of_one_kind_is_unknown(right):
    right = np.array(right, dtype=bool)
    assert math.isnan(auroc(np.zeros(len(right)), right))


@pytest.mark.parametrize('classes', [1, 3])
@pytest.mark.parametrize('ties', [False, True])
def test_metric__is_the_count_over_pairs(classes, ties):
    samples = images(classes, ties)
    right, misplaced, background, other = [], [], [], []
    for sample in samples:
        regions = sample['regions']
        for grades, label, iou in zip(
            regions.grades.tolist(), regions.labels, regions.ious
        ):
            own = grades.pop(int(label))
            if iou >= 0.5:
                right.append(own)
                if grades:  # the class that comes nearest
                    other.append(max(grades))
            elif iou > 0:
                misplaced.append(own)
            else:
                background.append(own)
    expected = {
        'grade/misplaced': over_pairs(right, misplaced),
        'grade/background': over_pairs(right, background),
        'grade/other_class': over_pairs(right, other),
        'grade/AUROC': over_pairs(right, misplaced + background + other),
    }
    assert measure(samples) == pytest.approx(expected, nan_ok=True)


def test_images_without_regions__do_not_count():
    empty = InstanceData(
        grades=torch.zeros(0, 3),
        labels=torch.zeros(0).long(),
        ious=torch.zeros(0),
    )
    samples = images()
    assert measure([*samples, dict(regions=empty)]) == measure(samples)
    assert all(map(math.isnan, measure([dict(regions=empty)]).values()))
