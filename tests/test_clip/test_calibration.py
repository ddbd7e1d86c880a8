"""Calibration: thresholds against brute force, counts, warnings."""

import math

import numpy as np
import pytest
import torch
from mmengine.dataset import BaseDataset
from mmengine.structures import InstanceData

from dsym.clip import Prompts, RegionSampler, RegionSettings
from dsym.clip.calibration import (
    KINDS,
    WRONG_SHARES,
    Calibration,
    calibrate,
    choose,
    kind_aurocs,
    labelled_samples,
    report,
    sort_scores,
)
from dsym.clip.region_targets import Regions
from dsym.clip.scorer import CLIPScorer
from dsym.errors import InputError

CLASSES = ('crazing', 'scratches')
PRIOR = 0.6
SHARES = dict(zip(KINDS[1:], WRONG_SHARES))


def draw(seed, ties):
    generator = torch.Generator().manual_seed(seed)
    means = dict(zip(KINDS, (0.6, 0.5, 0.4, 0.3)))
    scores = {
        kind: mean + 0.2 * torch.randn(20 + 7 * i, generator=generator)
        for i, (kind, mean) in enumerate(means.items())
    }
    if ties:
        scores = {k: x.mul(10).round() / 10 for k, x in scores.items()}
    return scores


def wins(by_kind, kind):
    """Share of pairs that the right region wins; ties count half."""
    pairs = by_kind['right'][:, None] - by_kind[kind]
    won = (pairs > 0).double() + (pairs == 0).double() / 2
    return float(won.mean())


def above(by_kind, tau, shares=SHARES):
    """Precision and recall above a threshold, wrong kinds by their shares."""
    right = float((by_kind['right'] > tau).double().mean())
    shares = {kind: x for kind, x in shares.items() if len(by_kind[kind])}
    wrong = sum(
        share * float((by_kind[kind] > tau).double().mean())
        for kind, share in shares.items()
    ) / sum(shares.values())
    kept = PRIOR * right + (1 - PRIOR) * wrong
    return (PRIOR * right / kept if kept else 0.0), right


@pytest.mark.parametrize('ties', [False, True])
@pytest.mark.parametrize('seed', range(4))
@pytest.mark.parametrize('precision', [0.65, 0.8, 0.9])
def test_threshold__lowest_with_the_wanted_precision(seed, ties, precision):
    by_kind = draw(seed, ties)
    tau, found, recall, area = choose(by_kind, precision, PRIOR)
    by_kind = {kind: x.clamp(min=0) for kind, x in by_kind.items()}
    values = torch.cat([*by_kind.values()]).unique().tolist()
    assert tau >= 0
    if tau:
        assert (found, recall) == pytest.approx(above(by_kind, tau))
        assert found >= precision
        values = [x for x in values if x < tau]
    else:
        assert (found, recall) == (PRIOR, 1)
    for value in values:  # a threshold just below keeps it too
        assert above(by_kind, value - 1e-6)[0] < precision
    # of a right box and a wrong one that is drawn by the shares
    expected = {kind: wins(by_kind, kind) for kind in SHARES}
    assert kind_aurocs(by_kind) == pytest.approx(expected)
    assert area == pytest.approx(
        sum(share * expected[kind] for kind, share in SHARES.items())
        / sum(SHARES.values())
    )


def test_auroc__many_easy_regions_do_not_hide_the_hard_ones():
    by_kind = {
        'right': torch.tensor([0.5, 0.7]),
        'misplaced': torch.tensor([0.6]),
        'other class': torch.tensor([0.1] * 50),
        'background': torch.tensor([0.2] * 50),
    }
    assert kind_aurocs(by_kind) == {
        'misplaced': 0.5,
        'other class': 1,
        'background': 1,
    }
    for shares, expected in (((0.8, 0.1, 0.1), 0.6), ((7, 0, 0), 0.5)):
        *_, area = choose(by_kind, 0.8, PRIOR, shares)
        assert area == pytest.approx(expected)
    by_kind['misplaced'] = torch.zeros(0)
    assert choose(by_kind, 0.8, PRIOR)[3] == 1
    assert 'misplaced' not in kind_aurocs(by_kind)


def test_kind_without_regions__does_not_count():
    by_kind = {**draw(0, False), 'background': torch.zeros(0)}
    tau, found, recall, _ = choose(by_kind, 0.75, PRIOR)
    assert (found, recall) == pytest.approx(above(by_kind, tau))


def test_wrong_shares__weigh_the_kinds():
    by_kind = dict(
        right=torch.tensor([0.9, 0.9]),
        misplaced=torch.tensor([0.9, 0.1]),
        background=torch.tensor([0.3] * 5),
    )
    by_kind['other class'] = torch.tensor([0.9] * 4)
    # above 0.6: all of the right, half of the misplaced, all of other classes;
    # a kind that never is wrong does not count
    for shares, threshold, expected in (
        ((1, 0, 0), 0.5, 0.6 / (0.6 + 0.2)),
        ((0.5, 0, 0.5), 0.6, 0.6 / (0.6 + 0.1)),
        ((0.5, 0.25, 0.25), 0.6, 0.6 / (0.6 + 0.1 + 0.1)),
    ):
        tau, found, *_ = choose(by_kind, 0.74, PRIOR, shares)
        assert (tau, found) == pytest.approx((threshold, expected))
        tenfold = [10 * x for x in shares]
        assert choose(by_kind, 0.74, PRIOR, tenfold)[1] == pytest.approx(found)


@pytest.mark.parametrize('shares', [(0.7, 0.3), (1, -0.1, 0.1), (0, 0, 0)])
def test_wrong_shares_that_are_none__name_the_kinds(shares):
    with pytest.raises(InputError, match='misplaced, other class, background'):
        calibrate(None, [], 0.8, wrong_shares=shares)


def test_cosines_below_0__count_as_0():
    by_kind = {kind: torch.tensor([-0.4, -0.3]) for kind in KINDS}
    by_kind['right'] = torch.tensor([-0.1, 0.2])
    # only above 0 is the precision reached
    assert choose(by_kind, 0.8, PRIOR)[:3] == pytest.approx((0.1, 1.0, 0.5))
    by_kind['right'] = torch.tensor([-0.1, -0.2])
    assert choose(by_kind, 0.8, PRIOR)[:3] == (0.0, PRIOR, 1.0)
    # all may be kept: no threshold at half of a negative score
    assert choose(by_kind, 0.5, PRIOR)[0] == 0


def test_no_threshold_is_good_enough__filters_nothing():
    by_kind = {kind: torch.full((4,), 0.9) for kind in KINDS}
    by_kind['right'] = torch.full((4,), 0.1)
    assert choose(by_kind, 0.8, PRIOR) == (0.0, PRIOR, 1.0, 0.0)


def test_class_without_regions__is_unknown():
    by_kind = {kind: torch.zeros(0) for kind in KINDS}
    tau, *others = choose(by_kind, 0.8, PRIOR)
    assert tau == 0 and all(map(math.isnan, others))
    assert kind_aurocs(by_kind) == {}


def test_kinds__by_iou_and_class():
    scores = [{kind: [] for kind in KINDS} for _ in range(2)]
    regions = Regions(
        torch.zeros(4, 4),
        torch.tensor([0, 1, 0, 1]),
        torch.tensor([0.5, 0.9, 0.49, 0.0]),
        torch.zeros(4),
    )
    grades = torch.tensor([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6], [0.7, 0.8]])
    sort_scores(scores, regions, grades)
    found = [
        {kind: torch.cat(x).tolist() for kind, x in by_kind.items()}
        for by_kind in scores
    ]
    assert found == [
        {
            'right': pytest.approx([0.1]),
            'misplaced': pytest.approx([0.5]),
            'other class': pytest.approx([0.3]),
            'background': pytest.approx([0.7]),
        },
        {
            'right': pytest.approx([0.4]),
            'misplaced': [],
            'other class': pytest.approx([0.2]),
            'background': pytest.approx([0.8]),
        },
    ]


def test_labelled_samples__without_ignored_boxes():
    class Boxes(BaseDataset):
        def load_data_list(self):
            boxes = [
                dict(bbox=[1, 2, 3, 4], bbox_label=1, ignore_flag=0),
                dict(bbox=[5, 6, 7, 8], bbox_label=0, ignore_flag=1),
            ]
            meta = dict(height=30, width=20)
            return [
                dict(meta, img_path='a.png', instances=boxes),
                dict(meta, img_path='b.png', instances=[]),
            ]

    (path, shape, truth), (_, _, none) = labelled_samples(Boxes())
    assert (path, shape) == ('a.png', (30, 20))
    assert truth.bboxes.tolist() == [[1, 2, 3, 4]]
    assert truth.labels.tolist() == [1]
    assert none.bboxes.shape == (0, 4) and none.labels.dtype == torch.long


@pytest.fixture(params=['softmax', 'contrast'])
def scorer(request, tmp_path, resnet):
    prompts = Prompts(CLASSES, normal=('flawless steel',))
    regions = RegionSettings('dense', image_size=64)
    return CLIPScorer(resnet, prompts, regions, request.param, str(tmp_path))


@pytest.fixture
def labelled(image_paths):
    truth = torch.tensor([[10.0, 20, 40, 60], [50, 5, 70, 30]])
    return [
        (
            path,
            (96, 80),
            InstanceData(bboxes=truth, labels=torch.tensor([0, i % 2])),
        )
        for i, path in enumerate(image_paths)
    ]


def test_calibrate__same_regions_counts_and_quantiles(
    scorer, labelled, warnings
):
    found = calibrate(scorer, labelled, 0.8, PRIOR, seed=3)
    generator = torch.Generator().manual_seed(3)
    sampler = RegionSampler(per_box=3)
    drawn = [sampler(truth, 96, 80, generator) for _, _, truth in labelled]
    labels = torch.cat([x.labels for x in drawn])
    ious = torch.cat([x.ious for x in drawn])
    for i, by_kind in enumerate(found.scores):
        assert {kind: len(x) for kind, x in by_kind.items()} == {
            'right': int(((ious >= 0.5) & (labels == i)).sum()),
            'misplaced': int(
                ((ious > 0) & (ious < 0.5) & (labels == i)).sum()
            ),
            'other class': int(((ious >= 0.5) & (labels != i)).sum()),
            'background': int((ious == 0).sum()),
        }
        tensors = {kind: torch.tensor(x) for kind, x in by_kind.items()}
        assert (
            found.tau[i],
            found.precision[i],
            found.recall[i],
            found.auroc[i],
        ) == pytest.approx(choose(tensors, 0.8, PRIOR))
        for kind, area in found.auroc_by_kind[i].items():
            assert area == pytest.approx(wins(tensors, kind))

    paths, shapes, _ = zip(*labelled)
    scores = scorer.image_scores(paths, shapes)
    assert found.image_tau == pytest.approx(float(scores.quantile(0.025)))
    assert found.image_tau < scores.sort().values[1]
    # three images have one direction: along it their deviation is 1
    rows = scorer.describe(paths).double().numpy()
    rows = (rows - rows.mean(0)) / np.maximum(rows.std(0), 1e-6)
    line = np.linalg.svd(rows)[0][:, 0] * 3**0.5
    near = [max(-abs(line[i] - np.delete(line, i))) for i in range(3)]
    expected = np.quantile(near, 0.025)
    assert found.typical_tau == pytest.approx(float(expected), abs=1e-5)

    again = calibrate(scorer, labelled, 0.8, PRIOR, seed=3)
    assert again.to_dict() == found.to_dict()
    # the two classes of images of random squares look alike
    weak = [x for x, a in zip(CLASSES, found.auroc) if a < 0.7]
    lines = [x for x in warnings() if 'hardly tell' in x]
    assert bool(lines) == bool(weak)
    assert all(name in line for line in lines[:1] for name in weak)


def test_calibrate__scores_regions_as_if_asked_alone(scorer, labelled):
    found = calibrate(scorer, labelled[:2], 0.8, PRIOR, seed=3)
    generator = torch.Generator().manual_seed(3)
    sampler = RegionSampler(per_box=3)
    drawn = [sampler(truth, 96, 80, generator) for _, _, truth in labelled[:2]]
    expected = []
    for regions, (path, shape, truth) in zip(drawn, labelled):
        for box, iou in zip(regions.boxes, regions.ious):
            if iou == 0:
                (grades,) = scorer.region_scores(
                    [path], [box[None]], [shape], [truth.bboxes]
                )
                expected.append(float(grades[0, 1]))
    assert found.scores[1]['background'] == pytest.approx(expected, abs=1e-4)


def test_report__warns_plainly_and_of_the_right_classes(warnings):
    good = dict(
        scores=[], auroc_by_kind=[], precision=[0.8] * 2, recall=[0.9] * 2
    )
    report(Calibration(tau=[0.4, 0.5], auroc=[0.9, 0.8], **good), CLASSES, 0.8)
    assert warnings() == []
    report(Calibration(tau=[0.4, 0.0], auroc=[0.9, 0.6], **good), CLASSES, 0.8)
    weak, free = warnings()
    assert 'right boxes from wrong ones of scratches (AUROC' in weak
    assert 'configs/clip/' in weak and 'crazing' not in weak + free
    assert 'no threshold reaches 80% precision for scratches' in free
