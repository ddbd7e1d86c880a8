"""RegionSampler and its soft targets: IoUs by torchvision, equations."""

import pytest
import torch
from mmengine.structures import InstanceData
from torchvision.ops import box_area, box_iou

from dsym.clip import RegionSampler
from dsym.clip.region_targets import Regions, describe, soft_targets

TRUTH = InstanceData(
    bboxes=torch.tensor([[20.0, 30, 60, 70], [120, 100, 180, 130]]),
    labels=torch.tensor([3, 1]),
)


def draw(sampler=None, seed=0, truth=TRUTH):
    generator = torch.Generator().manual_seed(seed)
    return (sampler or RegionSampler())(truth, 160, 200, generator)


def test_regions__equal_numbers_of_each_kind():
    boxes, labels, ious, held = draw()
    assert len(boxes) == 4 * 4 * len(TRUTH)
    overlaps = box_iou(boxes, TRUTH.bboxes)
    best, nearest = overlaps.max(1)
    torch.testing.assert_close(ious, best)
    good, between, bad, _ = best.split(8)
    assert good.min() >= 0.6
    assert between.min() >= 0.45 and between.max() < 0.6
    assert bad.min() >= 0.1 and bad.max() < 0.45
    # what of a background region a defect covers
    left = torch.maximum(boxes[:, None, :2], TRUTH.bboxes[:, :2])
    right = torch.minimum(boxes[:, None, 2:], TRUTH.bboxes[:, 2:])
    shared = (right - left).clamp(min=0).prod(-1)
    covered = shared / box_area(boxes)[:, None]
    torch.testing.assert_close(held, (shared / box_area(TRUTH.bboxes)).amax(1))
    assert covered[24:].max() < 0.1
    touching = best > 0
    assert torch.equal(labels[touching], TRUTH.labels[nearest[touching]])
    assert boxes.min() >= 0
    assert boxes[:, 2].max() <= 200 and boxes[:, 3].max() <= 160
    assert (boxes[:, 2:] - boxes[:, :2]).min() >= 4


def test_same_seed__same_regions():
    first, same, other = draw(), draw(), draw(seed=1)
    assert torch.equal(first.boxes, same.boxes)
    assert not torch.equal(first.boxes, other.boxes)


def test_settings__count_and_iou():
    sampler = RegionSampler(per_box=2, good_iou=0.8, bad_iou=(0.2, 0.3))
    ious = draw(sampler).ious
    good, between, bad, _ = ious.split(4)
    assert good.min() >= 0.8
    assert between.min() >= 0.3 and between.max() < 0.8
    assert bad.min() >= 0.2 and bad.max() < 0.3


def test_defect_that_fills_the_image__leaves_no_background():
    truth = InstanceData(
        bboxes=torch.tensor([[0.0, 0, 200, 160]]), labels=torch.tensor([0])
    )
    assert draw(truth=truth).ious.min() >= 0.1


def test_no_defect__no_regions():
    boxes, labels, ious, _ = draw(truth=TRUTH[:0])
    assert boxes.shape == (0, 4) and len(labels) == len(ious) == 0


def detected(*rows):
    """A detector's boxes, of pairs of label and corners."""
    labels, boxes = zip(*rows)
    return InstanceData(
        bboxes=torch.tensor(boxes).float(), labels=torch.tensor(labels)
    )


def test_detected__after_the_drawn_ones_with_their_ious():
    # the first true box is 40 px high
    found = detected(
        (3, (20, 30, 60, 70)),
        (3, (20, 30, 60, 50)),
        (3, (20, 30, 60, 46)),
        (0, (100, 140, 140, 150)),
        (1, (150, 100, 240, 130)),  # 30 of 60 px of the second are in it
        (1, (10, 10, 13, 40)),  # less than 4 px wide
    )
    generator = torch.Generator().manual_seed(0)
    regions = RegionSampler()(TRUTH, 160, 200, generator, found)
    drawn = draw()
    assert torch.equal(regions.boxes[:32], drawn.boxes)
    rows = sorted(
        (round(iou.item(), 4), label.item(), round(held.item(), 4))
        for _, label, iou, held in zip(*(x[32:] for x in regions))
    )
    # cut off at 200 px: it shares 30 x 30 px of 60 x 30 + 50 x 30 - 30 x 30
    assert [x[0] for x in rows] == [0, 0.375, 0.4, 0.5, 1]
    assert [x[1] for x in rows[1:]] == [1, 3, 3, 3]
    assert [x[2] for x in rows] == [0, 0.5, 0.4, 0.5, 1]
    rest = Regions(*(x[32:] for x in regions))
    right = soft_targets([rest], 4, (0.4, 0.6))[:, :4].amax(1)
    assert sorted(right.tolist()) == pytest.approx([0, 0, 0, 0.5, 1])


@pytest.mark.parametrize('truths', [0, 1, 2])
def test_detected__as_many_as_of_each_kind(truths):
    found = detected(*[(0, (5, 5, 15 + i, 20)) for i in range(20)])
    sampler = RegionSampler(per_box=3)
    first, same, other = (
        sampler(
            TRUTH[:truths],
            160,
            200,
            torch.Generator().manual_seed(seed),
            found,
        )
        for seed in (0, 0, 1)
    )
    count = 3 * max(truths, 1)
    assert len(first.boxes) == 4 * 3 * truths + count
    assert torch.equal(first.boxes, same.boxes)
    assert not torch.equal(first.boxes[-count:], other.boxes[-count:])
    assert len(first.boxes[-count:].unique(dim=0)) == count


@pytest.mark.parametrize(
    'claimed, label, iou',
    [
        (0, 0, 1.0),
        (1, 1, 0.8),  # right for its class, though nearer to another
        (2, 0, 1.0),  # right for another one
        (3, 0, 1.0),  # its own class has an IoU of 0.4 alone
    ],
)
def test_describe__class_that_a_detector_gave(claimed, label, iou):
    truth = InstanceData(
        bboxes=torch.tensor([[0.0, 0, 20, 10], [0, 0, 20, 8], [0, 0, 20, 4]]),
        labels=torch.tensor([0, 1, 3]),
    )
    box = torch.tensor([[0.0, 0, 20, 10]])
    regions = describe(box, truth, torch.tensor([claimed]))
    assert regions.labels.tolist() == [label]
    assert regions.ious.tolist() == pytest.approx([iou])


@pytest.mark.parametrize(
    'iou, good, misplaced, normal',
    [
        (0.0, 0, 0, 1),
        (0.1, 0, 0.5, 0.5),  # half of the way to 0.2
        (0.2, 0, 1, 0),
        (0.4, 0, 1, 0),
        (0.5, 0.5, 0.5, 0),
        (0.6, 1, 0, 0),
        (1.0, 1, 0, 0),
    ],
)
def test_targets__by_iou(iou, good, misplaced, normal):
    none = torch.zeros(1, 4), torch.zeros(1)
    other = Regions(none[0], torch.tensor([1]), torch.tensor([0.9]), none[1])
    this = Regions(none[0], torch.tensor([0]), torch.tensor([iou]), none[1])
    targets = soft_targets([other, this], 2, (0.4, 0.6))
    expected = torch.tensor(
        [[0, 1, 0, 0, 0], [good, 0, misplaced, 0, normal]]
    ).float()
    torch.testing.assert_close(targets, expected)


@pytest.mark.parametrize(
    'held, misplaced, normal', [(0.0, 0, 1), (0.25, 0.5, 0.5), (0.8, 1, 0)]
)
def test_small_defect_in_a_large_region__is_no_background(
    held, misplaced, normal
):
    region = Regions(
        torch.zeros(1, 4),
        torch.tensor([0]),
        torch.zeros(1),
        torch.tensor([held]),
    )
    targets = soft_targets([region], 1, (0.4, 0.6))
    torch.testing.assert_close(
        targets, torch.tensor([[0, misplaced, normal]]).float()
    )


def test_describe__without_defects_all_is_background():
    boxes = torch.tensor([[0.0, 0, 10, 10], [5, 5, 20, 20]])
    regions = describe(boxes, TRUTH[:0])
    assert regions.ious.tolist() == regions.held.tolist() == [0, 0]
    targets = soft_targets([regions], 2, (0.4, 0.6))
    assert targets.tolist() == [[0, 0, 0, 0, 1]] * 2
