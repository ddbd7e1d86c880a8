from typing import Dict, List, Sequence, Tuple

import torch
import torch.nn.functional as F
from mmengine.registry import MODELS
from torch import Tensor, nn


@MODELS.register_module()
class ConsistencyLoss(nn.Module):
    """Dense agreement of student and teacher (eq 2 of the DSYM paper).

    The two see an image in different views. A place of the student is
    compared with what the teacher says where that place lies in the teacher's
    view, on the same level: nowhere outside of it, and not at all in an image
    that one view shows ``max_scale`` times as large as the other.

    - Class scores: the squared difference of the sigmoids, summed, over the
      sum of the teacher's best scores of all places. An image of background
      has none to speak of and little loss.
    - Boxes: where the teacher's best score is at least ``box_thr``, its box,
      projected to the student's view, is the target of the student's
      distributions (distribution focal loss, times that score, over the sum
      of these scores). Flips exchange the sides of a box and zooms its bins:
      only boxes can be compared.

    Args:
        cls_weight (float): Factor of the class term. Defaults to 1.
        box_weight (float): Factor of the box term. Defaults to 0.5.
        box_thr (float): Defaults to 0.3.
        max_scale (float): Defaults to 1.5.
    """

    def __init__(
        self,
        cls_weight: float = 1.0,
        box_weight: float = 0.5,
        box_thr: float = 0.3,
        max_scale: float = 1.5,
    ) -> None:
        super().__init__()
        self.cls_weight = cls_weight
        self.box_weight = box_weight
        self.box_thr = box_thr
        self.max_scale = max_scale

    def forward(
        self,
        cls_scores: Sequence[Tensor],
        distributions: Sequence[Tensor],
        teacher_scores: Sequence[Tensor],
        teacher_boxes: Sequence[Tensor],
        to_student: Tensor,
        teacher_shapes: Sequence[Tuple[int, int]],
        student_shapes: Sequence[Tuple[int, int]],
        strides: Sequence[int],
    ) -> Tuple[Dict[str, Tensor], Tensor]:
        """Compare.

        Args:
            cls_scores (Sequence[Tensor]): The student's class logits of each
                level, ``(B, num_classes, H, W)``.
            distributions (Sequence[Tensor]): Its box distributions' logits,
                ``(B, H * W, 4, reg_max)``.
            teacher_scores (Sequence[Tensor]): The teacher's class logits
                ``(B, num_classes, H', W')``.
            teacher_boxes (Sequence[Tensor]): Its distances ``(B, 4, H', W')``
                in strides.
            to_student (Tensor): Homographies from pixels of the teacher's
                view to the student's, ``(B, 3, 3)``.
            teacher_shapes (Sequence[tuple]): Height and width of the
                teacher's views, without the padding of the batch.
            student_shapes (Sequence[tuple]): The same of the student's.
            strides (Sequence[int]): Of the levels.

        Returns:
            tuple[dict[str, Tensor], Tensor]: ``loss_consistency_cls`` and
            ``loss_consistency_box``, and how far the two are apart: the mean
            difference of scores, weighted with the teacher's.
        """
        scales = torch.linalg.det(to_student[:, :2, :2]).abs().sqrt()
        alike = scales.log().abs() <= torch.tensor(self.max_scale).log()
        teacher_size, student_size = (
            to_student.new_tensor([x[:2] for x in shapes]).flip(1)[:, None]
            for shapes in (teacher_shapes, student_shapes)
        )
        levels: List[List[Tensor]] = []
        for level, stride in enumerate(strides):
            centers = grid_centers(cls_scores[level], stride)
            seen = project(centers, torch.linalg.inv(to_student))
            inside = ((seen >= 0) & (seen < teacher_size)).all(-1)
            inside &= (centers < student_size).all(-1) & alike[:, None]
            scores = sample(
                teacher_scores[level].detach().sigmoid(), seen, stride
            )
            boxes = boxes_at(teacher_boxes[level].detach(), seen, stride)
            corners = project(as_corners(boxes), to_student)
            low, high = corners.amin(2), corners.amax(2)
            sides = torch.cat([centers - low, high - centers], -1) / stride
            logits = cls_scores[level].flatten(2).transpose(1, 2)
            levels.append(
                [logits, scores, inside, sides, distributions[level]]
            )
        logits, scores, inside, sides, bins = (
            torch.cat(parts, 1) for parts in zip(*levels)
        )
        student = logits.float().sigmoid()
        best = scores.amax(-1) * inside
        total = best.sum().clamp(min=1)
        gap = (student - scores) * inside[..., None]
        loss_cls = gap.square().sum() / total
        disagreement = (gap.detach().abs().amax(-1) * best).sum() / total

        reg_max = bins.size(-1)
        # distances of -1 lie outside of the box; the last bin bounds a box
        fits = ((sides >= 0) & (sides <= reg_max - 1.01)).all(-1)
        image, place = (fits & (best >= self.box_thr)).nonzero(as_tuple=True)
        weights = best[image, place]
        loss_box = distribution_loss(bins[image, place], sides[image, place])
        loss_box = (loss_box * weights).sum() / weights.sum().clamp(min=1)
        losses = dict(
            loss_consistency_cls=self.cls_weight * loss_cls,
            loss_consistency_box=self.box_weight * loss_box,
        )
        return losses, disagreement


def grid_centers(feature: Tensor, stride: int) -> Tensor:
    """Centres of a level's places in pixels, ``(1, H * W, 2)`` of x and y."""
    height, width = feature.shape[-2:]
    y, x = torch.meshgrid(
        torch.arange(height, device=feature.device),
        torch.arange(width, device=feature.device),
        indexing='ij',
    )
    centers = torch.stack([x, y], -1).flatten(0, 1)[None]
    return (centers + 0.5) * float(stride)


def project(points: Tensor, homographies: Tensor) -> Tensor:
    """Map points ``(B or 1, ..., 2)`` by ``(B, 3, 3)`` to ``(B, ..., 2)``."""
    shape = (-1, *[1] * (points.dim() - 2), 3, 3)
    homogeneous = F.pad(points, (0, 1), value=1.0)[..., None]
    # autocast would round pixels to 8 bits
    with torch.autocast(points.device.type, enabled=False):
        mapped = (homographies.reshape(shape) @ homogeneous)[..., 0]
    return mapped[..., :2] / mapped[..., 2:]


def sample(maps: Tensor, points: Tensor, stride: int) -> Tensor:
    """Interpolate maps ``(B, C, H, W)`` at pixels ``(B, P, 2)``.

    Returns:
        Tensor: ``(B, P, C)``.
    """
    height, width = maps.shape[-2:]
    size = points.new_tensor([width, height]) * stride
    grid = (2 * points / size - 1)[:, :, None]
    values = F.grid_sample(
        maps.float(), grid, padding_mode='border', align_corners=False
    )
    return values[..., 0].transpose(1, 2)


def boxes_at(distances: Tensor, points: Tensor, stride: int) -> Tensor:
    """The boxes of the places nearest to points, not interpolated.

    Args:
        distances (Tensor): ``(B, 4, H, W)`` in strides.
        points (Tensor): Pixels ``(B, P, 2)``.
        stride (int): Of the level.

    Returns:
        Tensor: xyxy in pixels ``(B, P, 4)``.
    """
    height, width = distances.shape[-2:]
    cells = (points / stride).floor()
    last = cells.new_tensor([width - 1, height - 1])
    cells = torch.minimum(cells.clamp(min=0), last)
    index = (cells[..., 1] * width + cells[..., 0]).long()
    sides = distances.float().flatten(2).transpose(1, 2)
    sides = sides.gather(1, index[..., None].expand(-1, -1, 4)) * stride
    centers = (cells + 0.5) * stride
    return torch.cat([centers - sides[..., :2], centers + sides[..., 2:]], -1)


def as_corners(boxes: Tensor) -> Tensor:
    """The four corners ``(..., 4, 2)`` of boxes ``(..., 4)``."""
    x1, y1, x2, y2 = boxes.unbind(-1)
    corners = [x1, y1, x2, y1, x2, y2, x1, y2]
    return torch.stack(corners, -1).unflatten(-1, (4, 2))


def distribution_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Distribution focal loss, mean over the sides.

    Args:
        logits (Tensor): ``(P, 4, reg_max)``.
        targets (Tensor): Distances in bins ``(P, 4)``.

    Returns:
        Tensor: ``(P,)``.
    """
    low = targets.floor().long()
    above = targets - low
    logs = logits.float().log_softmax(-1)
    at_low = logs.gather(-1, low[..., None])[..., 0]
    at_high = logs.gather(-1, low[..., None] + 1)[..., 0]
    return -((1 - above) * at_low + above * at_high).mean(-1)
