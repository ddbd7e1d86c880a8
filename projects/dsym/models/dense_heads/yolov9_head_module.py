import math
from typing import Optional, Sequence, Tuple, Union

import torch
import torch.nn as nn
from mmdet.utils import ConfigType, OptMultiConfig
from mmengine.registry import MODELS
from mmyolo.models.dense_heads import YOLOv8HeadModule
from mmyolo.models.utils import make_divisible
from torch import Tensor

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
        init_distance (float, optional): Strides from a place to each side of
            its box before training. YOLOv9 starts at 7.5: boxes of 480 px at
            stride 32, which in images of 224 px overlap with nothing by more
            than 0.22, so that no box is ever assigned to that level and it
            learns none. At 2.5 boxes start at 40, 80 and 160 px. Bins end at
            reg_max, which leaves 2.43 of 2.5, 4.1 of 5 and never more than
            7.5. Defaults to None, as YOLOv9.
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
        init_distance: Optional[float] = None,
        init_cfg: OptMultiConfig = None,
    ):
        self.cls_channels = cls_channels
        self.init_distance = init_distance
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

        Boxes start at bias 1, or as ``init_distance`` says; classes at
        ``log(5 / num_classes / (640 / stride)^2)``: five objects an image of
        640 px.
        """
        init_like_torch(self)
        super().init_weights(prior_prob)
        if self.init_distance is not None:
            # bins of a geometric distribution with this mean, cut at reg_max
            ratio = self.init_distance / (1 + self.init_distance)
            bins = torch.arange(self.reg_max) * math.log(ratio)
            for branch in self.reg_preds:
                # in place: averages hold these tensors already
                branch[-1].bias.data.copy_(bins.repeat(4))

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
        return self.decode(cls_pred(x), reg_pred(x))

    def decode(self, cls_logit: Tensor, dist_logit: Tensor) -> Tuple[Tensor]:
        """Turn a level's last convolutions into what ``forward_single`` gives.

        Args:
            cls_logit (Tensor): ``(B, num_classes, H, W)``.
            dist_logit (Tensor): ``(B, 4 * reg_max, H, W)``.

        Returns:
            tuple[Tensor]: As :meth:`forward_single`; eq 5 of the DSYM paper
            is the mean of a distribution, added to the place.
        """
        batch_size, _, height, width = cls_logit.shape
        cls_logit = cls_logit.float()
        bbox_dist_preds = (
            dist_logit.float()
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
