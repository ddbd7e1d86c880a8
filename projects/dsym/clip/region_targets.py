from typing import List, NamedTuple, Optional, Tuple

import torch
from mmdet.structures.bbox import bbox_overlaps
from mmengine.registry import TASK_UTILS
from mmengine.structures import InstanceData
from torch import Tensor

from ..evaluation.region_grade_metric import RIGHT_IOU

MIN_SIDE = 4  # px of a region


class Regions(NamedTuple):
    """Regions of an image and what they are.

    Attributes:
        boxes (Tensor): ``(N, 4)``.
        labels (Tensor): ``(N,)``, the class of the nearest true box, or of
            that for which a detector's box is right.
        ious (Tensor): ``(N,)``, with that box.
        held (Tensor): ``(N,)``, the largest share of a true box that lies in
            it.
    """

    boxes: Tensor
    labels: Tensor
    ious: Tensor
    held: Tensor


def describe(
    boxes: Tensor, truth: InstanceData, claimed: Optional[Tensor] = None
) -> Regions:
    """Say what regions are.

    Args:
        boxes (Tensor): ``(N, 4)``.
        truth (InstanceData): ``bboxes`` ``(G, 4)`` and ``labels``.
        claimed (Tensor, optional): ``(N,)``, classes that a detector gave
            them. One with an IoU of 0.5 with a true box of its class is that,
            however near one of another class is. Defaults to None.

    Returns:
        Regions: The regions; without true boxes of the first class, with IoUs
        of 0.
    """
    if not len(truth) or not len(boxes):
        zeros = boxes.new_zeros(len(boxes))
        return Regions(boxes, zeros.long(), zeros, zeros)
    real = truth.bboxes.float()
    overlaps = bbox_overlaps(boxes, real)
    if claimed is not None:
        own = overlaps * (claimed[:, None] == truth.labels)
        right = own.amax(1, keepdim=True) >= RIGHT_IOU
        overlaps = torch.where(right, own, overlaps)
    ious, nearest = overlaps.max(1)
    held = bbox_overlaps(real, boxes, mode='iof').amax(0)
    return Regions(boxes, truth.labels[nearest], ious, held)


@TASK_UTILS.register_module()
class RegionSampler:
    """Draw boxes as a detector makes them from true ones.

    Well placed, badly placed (parts of a defect, too much, beside it), in
    between, where a detector's box is hardest to judge, and on the
    background, in equal numbers where an image has room for them. Sides
    are those of true boxes times ``exp(N(0, spread))``, centres move by
    ``N(0, spread / 2)`` sides.

    Of the boxes that a detector really made on an image, if they are given,
    as many are taken as of each kind.

    Args:
        per_box (int): Regions of each kind for a true box. Defaults to 4.
        spread (float): Defaults to 0.5.
        candidates (int): Boxes drawn for a true one, of which these are
            taken. Defaults to 64.
        good_iou (float): Least IoU of the well placed. Defaults to 0.6.
        bad_iou (tuple[float]): IoU of the badly placed; those from the second
            to ``good_iou`` are in between. Defaults to (0.1, 0.45).
    """

    def __init__(
        self,
        per_box: int = 4,
        spread: float = 0.5,
        candidates: int = 64,
        good_iou: float = 0.6,
        bad_iou: tuple = (0.1, 0.45),
    ) -> None:
        self.per_box = per_box
        self.spread = spread
        self.candidates = candidates
        self.good_iou = good_iou
        self.bad_iou = bad_iou

    def __call__(
        self,
        truth: InstanceData,
        height: int,
        width: int,
        generator: Optional[torch.Generator] = None,
        detected: Optional[InstanceData] = None,
    ) -> Regions:
        """Draw the regions of an image.

        Args:
            truth (InstanceData): ``bboxes`` ``(G, 4)`` and ``labels``.
            height (int): Of the image.
            width (int): Of the image.
            generator (torch.Generator, optional): Of the CPU. Defaults to
                None, torch's own.
            detected (InstanceData, optional): A detector's ``bboxes``
                ``(D, 4)`` and ``labels``. Defaults to None.

        Returns:
            Regions: At most ``4 G per_box``, none without true boxes; then
            at most ``max(G, 1) per_box`` of the detector's.
        """
        boxes = truth.bboxes.float()
        limits = boxes.new_tensor([width, height, width, height])
        drawn = describe(self.draw(boxes, limits, generator), truth)
        if detected is None:
            return drawn
        found, seen = clipped(detected.bboxes.float(), limits)
        wanted = self.per_box * max(len(boxes), 1)
        taken = pick(seen, wanted, generator)
        real = describe(found[taken], truth, detected.labels[taken])
        return Regions(*map(torch.cat, zip(drawn, real)))

    def draw(
        self,
        boxes: Tensor,
        limits: Tensor,
        generator: Optional[torch.Generator],
    ) -> Tensor:
        """Boxes ``(N, 4)`` made from true ones, one kind after the other."""
        if not len(boxes):
            return boxes
        drawn = self.jitter(boxes, generator)
        # a third of them anywhere in the image
        anywhere = drawn[shuffled(len(drawn), generator)[: len(drawn) // 2]]
        sides = anywhere[:, 2:] - anywhere[:, :2]
        room = (limits[:2] - sides).clamp(min=0)
        start = torch.rand(room.shape, generator=generator).to(room) * room
        drawn = torch.cat([drawn, torch.cat([start, start + sides], 1)])
        drawn, seen = clipped(drawn, limits)
        drawn = drawn[seen]
        ious = bbox_overlaps(drawn, boxes).amax(1)
        # a piece of a defect is no background, however small its IoU
        covered = bbox_overlaps(drawn, boxes, mode='iof').amax(1)
        low, high = self.bad_iou
        kinds = (
            ious >= self.good_iou,
            (ious >= high) & (ious < self.good_iou),
            (ious >= low) & (ious < high),
            covered < low,
        )
        wanted = self.per_box * len(boxes)
        taken = torch.cat([pick(kind, wanted, generator) for kind in kinds])
        return drawn[taken]

    def jitter(
        self, boxes: Tensor, generator: Optional[torch.Generator]
    ) -> Tensor:
        """Candidates ``(G candidates, 4)`` around true boxes."""
        boxes = boxes.repeat_interleave(self.candidates, 0)
        normal = torch.randn((2, len(boxes), 2), generator=generator)
        # from nearly the same to very different
        spread = torch.rand((len(boxes), 1), generator=generator)
        move, grow = (self.spread * spread * normal).to(boxes)
        sides = boxes[:, 2:] - boxes[:, :2]
        centres = (boxes[:, 2:] + boxes[:, :2]) / 2 + sides * move
        half = sides * torch.exp(grow) / 2
        return torch.cat([centres - half, centres + half], 1)


def clipped(boxes: Tensor, limits: Tensor) -> Tuple[Tensor, Tensor]:
    """Clip boxes to an image.

    Args:
        boxes (Tensor): ``(N, 4)``.
        limits (Tensor): ``(4,)``: width, height, width, height.

    Returns:
        tuple[Tensor, Tensor]: The boxes, and which ``(N,)`` of them are still
        large enough for a region.
    """
    boxes = torch.minimum(boxes.clamp(min=0), limits)
    return boxes, (boxes[:, 2:] - boxes[:, :2] >= MIN_SIDE).all(1)


def shuffled(number: int, generator: Optional[torch.Generator]) -> Tensor:
    """Indices up to a number in random order."""
    return torch.randperm(number, generator=generator)


def pick(
    mask: Tensor, number: int, generator: Optional[torch.Generator]
) -> Tensor:
    """Indices of at most ``number`` random true elements."""
    indices = mask.nonzero()[:, 0]
    order = shuffled(len(indices), generator).to(indices.device)
    return indices[order[:number]]


def soft_targets(
    regions: List[Regions], num_classes: int, ramp: tuple
) -> Tensor:
    """What the groups of :class:`Prompts` should say about regions.

    From ``ramp[0]`` to ``ramp[1]`` of IoU a region turns from badly placed
    to well placed; below half of ``ramp[0]`` it turns to background, unless
    it holds half of a defect, which is small then.

    Args:
        regions (list[Regions]): Of each image.
        num_classes (int): C.
        ramp (tuple[float]): Two IoUs.

    Returns:
        Tensor: ``(N, 2 C + 1)``, rows sum to 1.
    """
    labels = torch.cat([x.labels for x in regions])
    ious = torch.cat([x.ious for x in regions])
    low, high = ramp
    good = ((ious - low) / (high - low)).clamp(0, 1)
    held = torch.cat([x.held for x in regions])
    background = 1 - (ious / (low / 2)).clamp(0, 1)
    background = background * (1 - (held / 0.5).clamp(0, 1))
    targets = ious.new_zeros(len(ious), 2 * num_classes + 1)
    rows = torch.arange(len(ious), device=ious.device)
    targets[rows, labels] = good
    targets[rows, num_classes + labels] = 1 - good - background
    targets[:, -1] = background
    return targets
