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
    assert len(boxes) == 3 * 4 * len(TRUTH)
    overlaps = box_iou(boxes, TRUTH.bboxes)
    best, nearest = overlaps.max(1)
    torch.testing.assert_close(ious, best)
    good, bad, _ = best.split(8)
    assert good.min() >= 0.6
    assert bad.min() >= 0.1 and bad.max() < 0.45
    # what of a background region a defect covers
    left = torch.maximum(boxes[:, None, :2], TRUTH.bboxes[:, :2])
    right = torch.minimum(boxes[:, None, 2:], TRUTH.bboxes[:, 2:])
    shared = (right - left).clamp(min=0).prod(-1)
    covered = shared / box_area(boxes)[:, None]
    torch.testing.assert_close(held, (shared / box_area(TRUTH.bboxes)).amax(1))
    assert covered[16:].max() < 0.1
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
    good, bad, _ = ious.split(4)
    assert good.min() >= 0.8
    assert bad.min() >= 0.2 and bad.max() < 0.3


def test_defect_that_fills_the_image__leaves_no_background():
    truth = InstanceData(
        bboxes=torch.tensor([[0.0, 0, 200, 160]]), labels=torch.tensor([0])
    )
    assert draw(truth=truth).ious.min() >= 0.1


def test_no_defect__no_regions():
    boxes, labels, ious, _ = draw(truth=TRUTH[:0])
    assert boxes.shape == (0, 4) and len(labels) == len(ious) == 0


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
