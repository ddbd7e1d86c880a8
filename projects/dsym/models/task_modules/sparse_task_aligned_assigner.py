from typing import Dict, Tuple

import torch
from mmengine.registry import TASK_UTILS
from mmyolo.models.losses import bbox_overlaps
from mmyolo.models.task_modules.assigners import BatchTaskAlignedAssigner
from torch import Tensor


@TASK_UTILS.register_module()
class SparseTaskAlignedAssigner(BatchTaskAlignedAssigner):
    """mmyolo's task-aligned assigner, of the pairs that can match alone.

    The same assignment as ``BatchTaskAlignedAssigner``, in a fraction of its
    time. A prior can only belong to a box that its centre lies in: a tenth of
    all pairs in an image of small defects. Overlaps are computed for these,
    and the best ``topk`` priors are marked by a scatter instead of the sum of
    one-hot rows, whose ``B x G x topk x P`` integers take most of mmyolo's
    time on a CPU.

    Args:
        num_classes (int): Number of classes.
        **kwargs: As in mmyolo: ``topk``, ``alpha``, ``beta``, ``eps``,
            ``use_ciou``.
    """

    @torch.no_grad()
    def forward(
        self,
        pred_bboxes: Tensor,
        pred_scores: Tensor,
        priors: Tensor,
        gt_labels: Tensor,
        gt_bboxes: Tensor,
        pad_bbox_flag: Tensor,
    ) -> Dict[str, Tensor]:
        """Assign boxes to priors.

        Args:
            pred_bboxes (Tensor): ``(B, P, 4)``, xyxy.
            pred_scores (Tensor): Probabilities ``(B, P, num_classes)``.
            priors (Tensor): ``(P, 4)``, centre first.
            gt_labels (Tensor): ``(B, G, 1)``.
            gt_bboxes (Tensor): ``(B, G, 4)``, xyxy, padded to ``G`` rows.
            pad_bbox_flag (Tensor): ``(B, G, 1)``, 1 where a row is a box.

        Returns:
            dict[str, Tensor]: As in mmyolo: ``assigned_labels (B, P)``,
            ``assigned_bboxes (B, P, 4)``, ``assigned_scores (B, P,
            num_classes)`` and ``fg_mask_pre_prior (B, P)``; and, unless
            ``G`` is 0, the boxes' rows ``assigned_rows (B, P)``.
        """
        if gt_bboxes.size(1) == 0:
            return super().forward(
                pred_bboxes,
                pred_scores,
                priors,
                gt_labels,
                gt_bboxes,
                pad_bbox_flag,
            )
        gt_labels = gt_labels.long().squeeze(-1)
        inside = self._is_inside(priors, gt_bboxes) & (pad_bbox_flag > 0)
        pairs = inside.nonzero(as_tuple=True)
        metrics = gt_bboxes.new_zeros(inside.shape)
        overlaps = torch.zeros_like(metrics)
        metrics[pairs], overlaps[pairs] = self._measure(
            pairs, pred_bboxes, pred_scores, gt_labels, gt_bboxes
        )
        best = metrics.topk(self.topk, dim=-1).indices
        positive = torch.zeros_like(inside).scatter_(-1, best, True) & inside
        self._resolve(
            positive, metrics, overlaps,
            pred_bboxes, pred_scores, gt_labels, gt_bboxes,
        )  # fmt: skip

        # of each box, its best overlap goes to its best prior
        metrics *= positive
        best_overlap = (overlaps * positive).amax(-1)
        scale = best_overlap / (metrics.amax(-1) + self.eps)
        image, box, prior = positive.nonzero(as_tuple=True)
        gt_index = gt_labels.new_zeros(pred_scores.shape[:2])
        gt_index[image, prior] = box
        scores = gt_bboxes.new_zeros(pred_scores.shape)
        scores[image, prior, gt_labels[image, box]] = (
            metrics[image, box, prior] * scale[image, box]
        )
        foreground = torch.zeros_like(gt_index, dtype=torch.bool)
        foreground[image, prior] = True
        batch = torch.arange(len(gt_index), device=gt_index.device)[:, None]
        return dict(
            assigned_labels=gt_labels[batch, gt_index],
            assigned_bboxes=gt_bboxes[batch, gt_index],
            assigned_scores=scores,
            fg_mask_pre_prior=foreground,
            assigned_rows=gt_index,
        )

    def _is_inside(self, priors: Tensor, gt_bboxes: Tensor) -> Tensor:
        """Which centres lie in which boxes: ``(B, G, P)``, bool."""
        x, y = priors[:, 0], priors[:, 1]
        x1, y1, x2, y2 = gt_bboxes.unsqueeze(-1).unbind(2)
        eps = 1e-9  # of mmyolo's select_candidates_in_gts
        return (
            (x - x1 > eps) & (y - y1 > eps) & (x2 - x > eps) & (y2 - y > eps)
        )

    def _measure(
        self,
        pairs: Tuple[Tensor, Tensor, Tensor],
        pred_bboxes: Tensor,
        pred_scores: Tensor,
        gt_labels: Tensor,
        gt_bboxes: Tensor,
    ) -> Tuple[Tensor, Tensor]:
        """Alignment metric and overlap of pairs (image, box, prior)."""
        image, box, prior = pairs
        overlaps = bbox_overlaps(
            pred_bboxes[image, prior],
            gt_bboxes[image, box],
            iou_mode='ciou' if self.use_ciou else 'iou',
            bbox_format='xyxy',
        ).clamp(0)
        scores = pred_scores[image, prior, gt_labels[image, box]]
        return scores.pow(self.alpha) * overlaps.pow(self.beta), overlaps

    def _resolve(
        self,
        positive: Tensor,
        metrics: Tensor,
        overlaps: Tensor,
        pred_bboxes: Tensor,
        pred_scores: Tensor,
        gt_labels: Tensor,
        gt_bboxes: Tensor,
    ) -> None:
        """Give a prior of several boxes to the one it overlaps most.

        As in mmyolo that is a box of all in the image, also one that the
        prior's centre is outside of. The first three are changed in place.
        """
        image, prior = (positive.sum(1) > 1).nonzero(as_tuple=True)
        if not len(image):
            return
        num_boxes = gt_bboxes.size(1)
        pairs = (
            image.repeat_interleave(num_boxes),
            torch.arange(num_boxes, device=image.device).repeat(len(image)),
            prior.repeat_interleave(num_boxes),
        )
        metric, overlap = (
            value.view(-1, num_boxes)
            for value in self._measure(
                pairs, pred_bboxes, pred_scores, gt_labels, gt_bboxes
            )
        )
        box = overlap.argmax(1)
        row = torch.arange(len(box), device=box.device)
        positive[image, :, prior] = False
        positive[image, box, prior] = True
        metrics[image, box, prior] = metric[row, box]
        overlaps[image, box, prior] = overlap[row, box]
