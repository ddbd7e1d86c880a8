from typing import Dict, List, Optional, Sequence, Tuple, Union

import torch
import torch.nn as nn
from mmdet.structures.bbox import distance2bbox
from mmdet.utils import (
    ConfigType,
    OptConfigType,
    OptInstanceList,
    OptMultiConfig,
)
from mmengine.config import ConfigDict
from mmengine.dist import get_dist_info
from mmengine.registry import MODELS
from mmengine.structures import InstanceData
from mmyolo.models.dense_heads import YOLOv8Head, YOLOv8HeadModule
from mmyolo.models.utils import gt_instances_preprocess, make_divisible
from torch import Tensor

from ...errors import InputError
from ..layers import ConvBNSiLU
from ..utils import init_like_torch


@MODELS.register_module()
class YOLOv9HeadModule(YOLOv8HeadModule):
    """Decoupled head of YOLOv9: grouped box branch, plain class branch.

    Box: 3x3, 3x3 with 4 groups, 1x1 with 4 groups (one group a side of the
    box). Class: 3x3, 3x3, 1x1. The branches' widths follow the first level's
    ``C0``: ``max(C0 / 4, 4 reg_max, 16)`` rounded up to a multiple of 4 for
    the box, ``max(C0, min(2 num_classes, 128))`` for the class branch.

    Args:
        num_classes (int): Number of classes.
        in_channels (Sequence[int]): Channels of the features at strides 8, 16
            and 32.
        widen_factor (float): Factor on ``in_channels``. Defaults to 1.0.
        num_base_priors (int): Priors a place. Defaults to 1.
        featmap_strides (Sequence[int]): Defaults to (8, 16, 32).
        reg_max (int): Bins of the box distributions. Defaults to 16.
        cls_channels (int, optional): Width of the class branch in place of
            the rule above. The published YOLOv9-t weights were made with 80.
            Defaults to None.
        norm_cfg (dict): Normalization. Defaults to BN(0.03, 1e-3).
        act_cfg (dict): Activation. Defaults to SiLU.
        init_cfg (dict, optional): Initialization; torch's own by default.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: Union[int, Sequence[int]],
        widen_factor: float = 1.0,
        num_base_priors: int = 1,
        featmap_strides: Sequence[int] = (8, 16, 32),
        reg_max: int = 16,
        cls_channels: Optional[int] = None,
        norm_cfg: ConfigType = dict(type='BN', momentum=0.03, eps=0.001),
        act_cfg: ConfigType = dict(type='SiLU', inplace=True),
        init_cfg: OptMultiConfig = None,
    ):
        self.cls_channels = cls_channels
        super().__init__(
            num_classes=num_classes,
            in_channels=in_channels,
            widen_factor=widen_factor,
            num_base_priors=num_base_priors,
            featmap_strides=featmap_strides,
            reg_max=reg_max,
            norm_cfg=norm_cfg,
            act_cfg=act_cfg,
            init_cfg=init_cfg,
        )

    def init_weights(self, prior_prob: float = 0.01) -> None:
        """Initialize the convolutions as torch does, the biases as YOLOv9.

        Boxes start at bias 1; classes at ``log(5 / num_classes / (640 /
        stride)^2)``: five objects an image of 640 px.
        """
        init_like_torch(self)
        super().init_weights(prior_prob)

    def _init_layers(self) -> None:
        """Build the branches of every level."""
        first = self.in_channels[0]
        reg_channels = make_divisible(
            max(16, first // 4, 4 * self.reg_max), 1, 4
        )
        cls_channels = self.cls_channels or max(
            first, min(2 * self.num_classes, 128)
        )
        self.reg_preds = nn.ModuleList(
            self._branch(c, reg_channels, 4 * self.reg_max, groups=4)
            for c in self.in_channels
        )
        self.cls_preds = nn.ModuleList(
            self._branch(c, cls_channels, self.num_classes)
            for c in self.in_channels
        )
        self.register_buffer(
            'proj',
            torch.arange(self.reg_max, dtype=torch.float),
            persistent=False,
        )

    def _branch(
        self,
        in_channels: int,
        channels: int,
        out_channels: int,
        groups: int = 1,
    ) -> nn.Sequential:
        cfg = dict(padding=1, norm_cfg=self.norm_cfg, act_cfg=self.act_cfg)
        return nn.Sequential(
            ConvBNSiLU(in_channels, channels, 3, **cfg),
            ConvBNSiLU(channels, channels, 3, groups=groups, **cfg),
            nn.Conv2d(channels, out_channels, 1, groups=groups),
        )

    def forward_single(
        self, x: Tensor, cls_pred: nn.Module, reg_pred: nn.Module
    ) -> Tuple[Tensor, ...]:
        """Predict one level, in float32 also under autocast.

        A distance of up to ``reg_max`` strides of 32 px in bfloat16 would be
        known to 1 px; assignment, losses and boxes are made of float32.

        Args:
            x (Tensor): Features ``(B, C, H, W)``.
            cls_pred (nn.Module): The level's class branch.
            reg_pred (nn.Module): The level's box branch.

        Returns:
            tuple[Tensor]: Class logits ``(B, num_classes, H, W)``, the
            distributions' means ``(B, 4, H, W)`` in strides and, in training,
            the logits of the distributions ``(B, H * W, 4, reg_max)``.
        """
        batch_size, _, height, width = x.shape
        cls_logit = cls_pred(x).float()
        bbox_dist_preds = (
            reg_pred(x)
            .float()
            .reshape(batch_size, 4, self.reg_max, height * width)
            .permute(0, 3, 1, 2)
        )
        bbox_preds = (
            (bbox_dist_preds.softmax(3) * self.proj)
            .sum(3)
            .transpose(1, 2)
            .reshape(batch_size, 4, height, width)
        )
        if self.training:
            return cls_logit, bbox_preds, bbox_dist_preds
        return cls_logit, bbox_preds


@MODELS.register_module()
class YOLOv9Head(YOLOv8Head):
    """Dense head of YOLOv9 with its auxiliary (PGI) branch.

    The supervised loss (eq 1 of the DSYM paper is its class term): binary
    cross-entropy on task-aligned soft labels, CIoU and distribution focal
    loss. In training the auxiliary branch has the same loss on an assignment
    of its own, times ``aux_loss_weight``. In eval mode it is not computed.

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
        **kwargs: As mmyolo's ``YOLOv8Head``.
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
        **kwargs,
    ):
        num_classes = dict(num_classes=head_module['num_classes'])
        if train_cfg:
            train_cfg = ConfigDict(train_cfg)
            train_cfg.assigner = {**num_classes, **train_cfg.assigner}
        # mmyolo's own defaults name the coder and the loss without a scope,
        # which only a config of mmyolo's scope resolves
        super().__init__(
            head_module=head_module,
            train_cfg=train_cfg,
            bbox_coder=bbox_coder,
            loss_bbox=loss_bbox,
            **kwargs,
        )
        self.aux_loss_weight = aux_loss_weight
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
            main levels, followed in training by the auxiliary levels.

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
            outs = tuple(o + a for o, a in zip(outs, aux_outs))
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
                of ``InstanceData`` or mmyolo's ``(N, 6)`` tensor of image
                index, label, x1, y1, x2, y2.
            batch_img_metas (Sequence[dict]): One an image.
            batch_gt_instances_ignore (list, optional): Unused, as in mmyolo.

        Returns:
            dict[str, Tensor]: ``loss_cls``, ``loss_bbox`` and ``loss_dfl``,
            summed over the images of all processes as YOLOv9 does, and the
            same with the prefix ``aux_`` of the auxiliary branch.
        """
        num_levels = self.head_module.num_levels
        self._place_priors(cls_scores[:num_levels])
        truth = gt_instances_preprocess(
            batch_gt_instances, len(batch_img_metas)
        )

        def branch_loss(levels: slice) -> Dict[str, Tensor]:
            return self._branch_loss(
                cls_scores[levels],
                bbox_preds[levels],
                bbox_dist_preds[levels],
                truth,
            )

        losses = branch_loss(slice(num_levels))
        if len(cls_scores) > num_levels:
            aux_losses = branch_loss(slice(num_levels, None))
            losses.update(
                {
                    f'aux_{name}': self.aux_loss_weight * loss
                    for name, loss in aux_losses.items()
                }
            )
        return losses

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
    ) -> Dict[str, Tensor]:
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

        Returns:
            dict[str, Tensor]: ``loss_cls``, ``loss_bbox``, ``loss_dfl``.
        """
        num_imgs, reg_max = len(truth), self.head_module.reg_max

        def flatten(levels: Sequence[Tensor], channels: int) -> Tensor:
            return torch.cat(
                [
                    x.permute(0, 2, 3, 1).reshape(num_imgs, -1, channels)
                    for x in levels
                ],
                dim=1,
            )

        points, strides = self.flatten_priors_train[:, :2], self.stride_tensor
        logits = flatten(cls_scores, self.num_classes)
        with torch.no_grad():
            boxes = self.bbox_coder.decode(
                points, flatten(bbox_preds, 4), strides[:, 0]
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
        total = scores.sum().clamp(min=1)
        scale = num_imgs * get_dist_info()[1]
        loss_cls = self.loss_cls(logits, scores).sum() / total

        distributions = torch.cat(
            [x.reshape(num_imgs, -1, 4, reg_max) for x in bbox_dist_preds], 1
        )
        image, place = assigned['fg_mask_pre_prior'].nonzero(as_tuple=True)
        if not len(image):
            nothing = distributions.sum() * 0
            return dict(
                loss_cls=loss_cls * scale, loss_bbox=nothing, loss_dfl=nothing
            )
        points, strides = (points / strides)[place], strides[place]
        distributions = distributions[image, place]
        targets = assigned['assigned_bboxes'][image, place] / strides
        weights = scores[image, place].sum(-1, keepdim=True)
        distances = (distributions.softmax(-1) * self.head_module.proj).sum(-1)
        loss_bbox = self.loss_bbox(
            distance2bbox(points, distances), targets, weight=weights
        )
        loss_dfl = self.loss_dfl(
            distributions.flatten(0, 1),
            self.bbox_coder.encode(
                points, targets, max_dis=reg_max - 1, eps=0.01
            ).flatten(),
            weight=weights.expand(-1, 4).flatten(),
            avg_factor=total,
        )
        return dict(
            loss_cls=loss_cls * scale,
            loss_bbox=loss_bbox / total * scale,
            loss_dfl=loss_dfl * scale,
        )
