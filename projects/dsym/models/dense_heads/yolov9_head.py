from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

import torch
from mmdet.structures.bbox import distance2bbox
from mmdet.utils import (
    ConfigType,
    OptConfigType,
    OptInstanceList,
)
from mmengine.config import ConfigDict
from mmengine.dist import get_dist_info
from mmengine.registry import MODELS
from mmengine.structures import InstanceData
from mmyolo.models.dense_heads import YOLOv8Head
from mmyolo.models.utils import gt_instances_preprocess
from torch import Tensor

from ...errors import InputError
from .doubtful_targets import box_weights, ignored_boxes, place_weights


class Matches(NamedTuple):
    """The P places of a branch that have a target.

    Attributes:
        image (Tensor): Index of the image ``(P,)``.
        place (Tensor): Index among all levels' places ``(P,)``.
        boxes (Tensor): Predicted xyxy ``(P, 4)`` in strides, with gradient.
        targets (Tensor): Assigned xyxy ``(P, 4)`` in strides.
        weights (Tensor): Alignment of each ``(P, 1)``.
        factor (Tensor): What a sum over them is multiplied with.
    """

    image: Tensor
    place: Tensor
    boxes: Tensor
    targets: Tensor
    weights: Tensor
    factor: Tensor


def flatten_levels(levels: Sequence[Tensor]) -> Tensor:
    """Join levels ``(B, C, H, W)`` to ``(B, places, C)``."""
    return torch.cat([x.permute(0, 2, 3, 1).flatten(1, 2) for x in levels], 1)


@MODELS.register_module()
class YOLOv9Head(YOLOv8Head):
    """Dense head of YOLOv9 with its auxiliary (PGI) branch.

    The supervised loss (eq 1 of the DSYM paper is its class term): binary
    cross-entropy on task-aligned soft labels, CIoU and distribution focal
    loss. In training the auxiliary branch has the same loss on an assignment
    of its own, times ``aux_loss_weight``. In eval mode it is not computed.

    Boxes may have ``weights``: the losses of the places that match a box are
    multiplied with its weight, or its class target is (``soft_targets``).
    Doubtful pseudo-labels count less so. In boxes to ignore, what matches
    nothing is not taught to be background.

    Args:
        head_module (dict): The main branch, e.g. ``YOLOv9HeadModule``.
        aux_head_module (dict, optional): The auxiliary branch; None for a
            detector without one. Its number of classes is the main branch's
            unless it says otherwise. Defaults to None.
        aux_loss_weight (float): Factor on the auxiliary losses. Defaults to
            0.25, as YOLOv9.
        train_cfg (dict, optional): Holds the assigner, whose number of
            classes likewise follows the main branch. Defaults to None.
        bbox_coder (dict): Codes boxes as distances from a place. Defaults to
            mmyolo's ``DistancePointBBoxCoder``.
        loss_bbox (dict): Defaults to CIoU with weight 7.5.
        soft_targets (bool): Boxes of less weight are class targets as much
            lower, with the full loss, instead of targets as high with as much
            less of it. Defaults to False.
        **kwargs: As mmyolo's ``YOLOv8Head``; the strides of its
            ``prior_generator`` follow the main branch.

    Raises:
        InputError: If a ``prior_generator`` has other strides.
    """

    def __init__(
        self,
        head_module: ConfigType,
        aux_head_module: OptConfigType = None,
        aux_loss_weight: float = 0.25,
        train_cfg: OptConfigType = None,
        bbox_coder: ConfigType = dict(type='mmyolo.DistancePointBBoxCoder'),
        loss_bbox: ConfigType = dict(
            type='mmyolo.IoULoss',
            iou_mode='ciou',
            bbox_format='xyxy',
            reduction='sum',
            loss_weight=7.5,
            return_iou=False,
        ),
        soft_targets: bool = False,
        **kwargs,
    ):
        num_classes = dict(num_classes=head_module['num_classes'])
        if train_cfg:
            train_cfg = ConfigDict(train_cfg)
            train_cfg.assigner = {**num_classes, **train_cfg.assigner}
        strides = head_module.get('featmap_strides')
        if strides:
            kwargs.setdefault(
                'prior_generator',
                dict(type='mmdet.MlvlPointGenerator', strides=strides),
            )
        # mmyolo's own defaults name the coder and the loss without a scope,
        # which only a config of mmyolo's scope resolves
        super().__init__(
            head_module=head_module,
            train_cfg=train_cfg,
            bbox_coder=bbox_coder,
            loss_bbox=loss_bbox,
            **kwargs,
        )
        priors = [x[0] for x in self.prior_generator.strides]
        if priors != list(self.featmap_strides):
            raise InputError(
                f'bbox_head.prior_generator has strides {priors}, head_module '
                f'{list(self.featmap_strides)}: leave prior_generator out'
            )
        self.aux_loss_weight = aux_loss_weight
        self.soft_targets = soft_targets
        self.aux_head_module = None
        if aux_head_module is not None:
            self.aux_head_module = MODELS.build(
                {**num_classes, **aux_head_module}
            )

    def forward(self, x: Sequence[Tensor]) -> Tuple[List[Tensor], ...]:
        """Predict from the neck's features.

        Args:
            x (Sequence[Tensor]): Main features, then none or as many
                auxiliary ones.

        Returns:
            tuple[list]: Class logits ``(B, num_classes, H, W)``, box
            distances ``(B, 4, H, W)`` in strides and, in training, box
            distributions ``(B, H * W, 4, reg_max)``; each a list over the
            main levels, followed in training by the auxiliary levels, then
            what else the main branch gives.

        Raises:
            InputError: If auxiliary features are missing in training.
        """
        num_levels = self.head_module.num_levels
        outs = self.head_module(x[:num_levels])
        if self.training and self.aux_head_module is not None:
            if len(x) != 2 * num_levels:
                raise InputError(
                    f'bbox_head.aux_head_module needs {num_levels} auxiliary '
                    f'features after the main ones, but {len(x)} came in all; '
                    'set with_aux of backbone and neck or drop the module'
                )
            aux_outs = self.aux_head_module(x[num_levels:])
            both = [o + a for o, a in zip(outs, aux_outs)]
            outs = (*both, *outs[len(both) :])
        return outs

    def loss_by_feat(
        self,
        cls_scores: Sequence[Tensor],
        bbox_preds: Sequence[Tensor],
        bbox_dist_preds: Sequence[Tensor],
        batch_gt_instances: Union[Tensor, Sequence[InstanceData]],
        batch_img_metas: Sequence[dict],
        batch_gt_instances_ignore: OptInstanceList = None,
    ) -> Dict[str, Tensor]:
        """Losses of the main and, if it was computed, the auxiliary branch.

        Args:
            cls_scores (Sequence[Tensor]): As :meth:`forward` gives them.
            bbox_preds (Sequence[Tensor]): As :meth:`forward` gives them.
            bbox_dist_preds (Sequence[Tensor]): As :meth:`forward` gives them.
            batch_gt_instances (Tensor or list): Boxes in input pixels: a list
                of ``InstanceData``, with ``weights`` or without, or mmyolo's
                ``(N, 6)`` tensor of image index, label, x1, y1, x2, y2.
            batch_img_metas (Sequence[dict]): One an image.
            batch_gt_instances_ignore (list, optional): ``InstanceData`` or
                None of each image; mmyolo's heads do not look at them.

        Returns:
            dict[str, Tensor]: ``loss_cls``, ``loss_bbox`` and ``loss_dfl``,
            summed over the images of all processes as YOLOv9 does, and the
            same with the prefix ``aux_`` of the auxiliary branch.
        """
        return self.match_and_loss(
            cls_scores,
            bbox_preds,
            bbox_dist_preds,
            gt_instances_preprocess(batch_gt_instances, len(batch_img_metas)),
            box_weights(batch_gt_instances),
            ignored_boxes(batch_gt_instances_ignore),
        )[0]

    def match_and_loss(
        self,
        cls_scores: Sequence[Tensor],
        bbox_preds: Sequence[Tensor],
        bbox_dist_preds: Sequence[Tensor],
        truth: Tensor,
        box_weights: Optional[Tensor] = None,
        ignored: Optional[Tensor] = None,
    ) -> Tuple[Dict[str, Tensor], Matches]:
        """As :meth:`loss_by_feat`, with the main branch's matches.

        Args:
            cls_scores (Sequence[Tensor]): As :meth:`forward` gives them.
            bbox_preds (Sequence[Tensor]): As :meth:`forward` gives them.
            bbox_dist_preds (Sequence[Tensor]): As :meth:`forward` gives them.
            truth (Tensor): ``(B, G, 5)`` of label and xyxy, zeros below.
            box_weights (Tensor, optional): Weight of each box ``(B, G)``.
                Defaults to None, 1.
            ignored (Tensor, optional): Boxes to ignore ``(B, M, 4)``, zeros
                below. Defaults to None.

        Returns:
            tuple[dict[str, Tensor], Matches]: Losses and matches.
        """
        num_levels = self.head_module.num_levels
        self._place_priors(cls_scores[:num_levels])

        def branch_loss(levels: slice) -> Tuple[Dict[str, Tensor], Matches]:
            return self._branch_loss(
                cls_scores[levels],
                bbox_preds[levels],
                bbox_dist_preds[levels],
                truth,
                box_weights,
                ignored,
            )

        losses, matches = branch_loss(slice(num_levels))
        if len(cls_scores) > num_levels:
            aux_losses, _ = branch_loss(slice(num_levels, None))
            losses.update(
                {
                    f'aux_{name}': self.aux_loss_weight * loss
                    for name, loss in aux_losses.items()
                }
            )
        return losses, matches

    def _place_priors(self, cls_scores: Sequence[Tensor]) -> None:
        """Keep centres and strides of all places while the sizes stay."""
        sizes = [score.shape[2:] for score in cls_scores]
        if sizes == self.featmap_sizes_train:
            return
        self.featmap_sizes_train = sizes
        self.flatten_priors_train = torch.cat(
            self.prior_generator.grid_priors(
                sizes,
                dtype=cls_scores[0].dtype,
                device=cls_scores[0].device,
                with_stride=True,
            )
        )
        self.stride_tensor = self.flatten_priors_train[:, 2:3]

    def _branch_loss(
        self,
        cls_scores: Sequence[Tensor],
        bbox_preds: Sequence[Tensor],
        bbox_dist_preds: Sequence[Tensor],
        truth: Tensor,
        box_weights: Optional[Tensor] = None,
        ignored: Optional[Tensor] = None,
    ) -> Tuple[Dict[str, Tensor], Matches]:
        """Losses of one branch, as ``YOLOv8Head``'s.

        Every place has a box for the assignment, but only the places that get
        a target have a loss of it: their boxes alone are computed again with a
        gradient. In mmyolo it runs through the distributions of all places.

        Args:
            cls_scores (Sequence[Tensor]): One branch of :meth:`forward`.
            bbox_preds (Sequence[Tensor]): One branch of :meth:`forward`.
            bbox_dist_preds (Sequence[Tensor]): One branch of
                :meth:`forward`.
            truth (Tensor): ``(B, G, 5)`` of label and xyxy, zeros below.
            box_weights (Tensor, optional): Weight of each box ``(B, G)``.
                Defaults to None, 1.
            ignored (Tensor, optional): Boxes to ignore ``(B, M, 4)``, zeros
                below. Defaults to None.

        Returns:
            tuple[dict[str, Tensor], Matches]: ``loss_cls``, ``loss_bbox``,
            ``loss_dfl`` and the places that have a target.
        """
        num_imgs, reg_max = len(truth), self.head_module.reg_max
        points, strides = self.flatten_priors_train[:, :2], self.stride_tensor
        logits = flatten_levels(cls_scores)
        with torch.no_grad():
            boxes = self.bbox_coder.decode(
                points, flatten_levels(bbox_preds), strides[:, 0]
            )
            labels, corners = truth[..., :1], truth[..., 1:]
            assigned = self.assigner(
                boxes.type(corners.dtype),
                logits.sigmoid(),
                self.flatten_priors_train,
                labels,
                corners,
                (corners.sum(-1, keepdim=True) > 0).float(),
            )
        scores = assigned['assigned_scores']
        losses_cls = self.loss_cls(logits, scores)
        # unweighted: a doubtful box would raise the share of the background
        total = scores.sum().clamp(min=1)
        if box_weights is not None and box_weights.size(1):
            weights = place_weights(assigned, box_weights)
            scores = scores * weights
            if self.soft_targets:
                losses_cls = self.loss_cls(logits, scores)
            else:
                losses_cls = losses_cls * weights
        if ignored is not None:
            free = ~assigned['fg_mask_pre_prior'].bool()
            hidden = free & self._inside_any(points, ignored)
            losses_cls = losses_cls.masked_fill(hidden[..., None], 0)
        scale = num_imgs * get_dist_info()[1]
        loss_cls = losses_cls.sum() / total

        distributions = torch.cat(
            [x.reshape(num_imgs, -1, 4, reg_max) for x in bbox_dist_preds], 1
        )
        image, place = assigned['fg_mask_pre_prior'].nonzero(as_tuple=True)
        points, strides = (points / strides)[place], strides[place]
        distributions = distributions[image, place]
        distances = (distributions.softmax(-1) * self.head_module.proj).sum(-1)
        matches = Matches(
            image,
            place,
            boxes=distance2bbox(points, distances),
            targets=assigned['assigned_bboxes'][image, place] / strides,
            weights=scores[image, place].sum(-1, keepdim=True),
            factor=scale / total,
        )
        if not len(image):
            loss_bbox = loss_dfl = distributions.sum()
        else:
            loss_bbox = self.loss_bbox(
                matches.boxes, matches.targets, weight=matches.weights
            )
            loss_dfl = self.loss_dfl(
                distributions.flatten(0, 1),
                self.bbox_coder.encode(
                    points, matches.targets, max_dis=reg_max - 1, eps=0.01
                ).flatten(),
                weight=matches.weights.expand(-1, 4).flatten(),
                avg_factor=total,
            )
        losses = dict(
            loss_cls=loss_cls * scale,
            loss_bbox=loss_bbox * matches.factor,
            loss_dfl=loss_dfl * scale,
        )
        return losses, matches

    @staticmethod
    def _inside_any(points: Tensor, boxes: Tensor) -> Tensor:
        """Which centres ``(P, 2)`` lie in any of boxes ``(B, M, 4)``."""
        points = points[:, None]
        inside = (points > boxes[:, None, :, :2]) & (
            points < boxes[:, None, :, 2:]
        )
        return inside.all(-1).any(-1)
