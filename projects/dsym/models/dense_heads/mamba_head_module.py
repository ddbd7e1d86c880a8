import math
from typing import List, Optional, Sequence, Tuple

import torch.nn as nn
from mmdet.models.utils import multi_apply
from mmengine.registry import MODELS
from torch import Tensor

from ...errors import InputError
from ..layers import Scan2D
from .yolov9_head_module import YOLOv9HeadModule

BIAS_STARTS = ('prior', 'paper')
SCAN_PLACES = ('branches', 'stem')


@MODELS.register_module()
class MambaHeadModule(YOLOv9HeadModule):
    """YOLOv9's decoupled head with selective scans (eq 4 of the DSYM paper).

    At each level of ``scan_levels`` a residual :class:`Scan2D` stands between
    the two 3x3 convolutions of both branches, so that what it carries across
    the image meets its surroundings once more before the prediction, or one
    stands before both branches. The other layers have the names of
    :class:`YOLOv9HeadModule`, whose weights load. A scan's last projection
    starts at zero: the untrained head is the plain one.

    Args:
        num_classes (int): Number of classes.
        in_channels (Sequence[int]): Channels of the features.
        scan (str): 'bidirectional', 'cross' or 'strided', see
            :class:`Scan2D`. Defaults to 'strided'.
        scan_levels (Sequence[int], optional): Levels with scans, 0 for the
            finest, which has 76% of the tokens. Defaults to None, all.
        scan_place (str): 'branches' for a scan in each branch or 'stem' for
            one of the features that both branches share. Defaults to
            'branches'.
        mamba (dict, optional): Of :class:`Mamba`: ``d_state``, ``expand``,
            ... Defaults to None: ``expand`` 0.5, for the sake of the time at
            640 px (docs/mamba_head.md), else as Mamba.
        with_confidence (bool): The paper's third branch, a logit of the box's
            quality from the box branch's features. Defaults to False.
        bias_start (str): Where the class logits start: 'prior' as in YOLOv9,
            or 'paper' for eq 7, ``ln(num_classes / stride)``, which starts
            the scores of 6 classes at 0.43, 0.27 and 0.16. Defaults to
            'prior'.
        **kwargs: As :class:`YOLOv9HeadModule`.

    Raises:
        InputError: If a level, ``scan_place`` or ``bias_start`` does not
            exist.
    """

    def __init__(
        self,
        num_classes: int,
        in_channels: Sequence[int],
        scan: str = 'strided',
        scan_levels: Optional[Sequence[int]] = None,
        scan_place: str = 'branches',
        mamba: Optional[dict] = None,
        with_confidence: bool = False,
        bias_start: str = 'prior',
        **kwargs,
    ) -> None:
        for key, value, known in (
            ('bias_start', bias_start, BIAS_STARTS),
            ('scan_place', scan_place, SCAN_PLACES),
        ):
            if value not in known:
                raise InputError(
                    f'{key}={value!r} of MambaHeadModule: give one of {known}'
                )
        self.scan = scan
        self.scan_levels = scan_levels
        self.scan_place = scan_place
        self.mamba = {'expand': 0.5, **(mamba or {})}
        self.with_confidence = with_confidence
        self.bias_start = bias_start
        super().__init__(num_classes, in_channels, **kwargs)

    def _init_layers(self) -> None:
        """Build the branches and their scans."""
        super()._init_layers()
        levels = range(self.num_levels)
        chosen = levels if self.scan_levels is None else self.scan_levels
        unknown = [level for level in chosen if level not in levels]
        if unknown:
            raise InputError(
                f'scan_levels={list(chosen)} of MambaHeadModule: there are '
                f'the levels {list(levels)}'
            )

        def scans(place: str, channels: Sequence[int]) -> nn.ModuleList:
            return nn.ModuleList(
                Scan2D(channels[level], self.scan, **self.mamba)
                if place == self.scan_place and level in chosen
                else nn.Identity()
                for level in levels
            )

        def widths(branches: nn.ModuleList) -> List[int]:
            return [branch[0].out_channels for branch in branches]

        self.stem_scans = scans('stem', self.in_channels)
        self.cls_scans = scans('branches', widths(self.cls_preds))
        self.reg_scans = scans('branches', widths(self.reg_preds))
        if self.with_confidence:
            self.conf_preds = nn.ModuleList(
                nn.Conv2d(branch[1].out_channels, 1, 1)
                for branch in self.reg_preds
            )

    def init_weights(self, prior_prob: float = 0.01) -> None:
        """Initialize; scans as Mamba does, with nothing added at first."""
        super().init_weights(prior_prob)
        for module in self.modules():
            if isinstance(module, Scan2D):
                module.init_weights()
        if self.bias_start == 'paper':
            for branch, stride in zip(self.cls_preds, self.featmap_strides):
                nn.init.constant_(
                    branch[-1].bias, math.log(self.num_classes / stride)
                )

    def forward(self, x: Sequence[Tensor]) -> Tuple[List[Tensor], ...]:
        """Predict every level.

        Args:
            x (Sequence[Tensor]): Features ``(B, C, H, W)``.

        Returns:
            tuple[list[Tensor]]: As :class:`YOLOv9HeadModule`, and the
            confidences' logits ``(B, 1, H, W)`` where there are any.
        """
        parts = [self.cls_preds, self.reg_preds]
        parts += [self.stem_scans, self.cls_scans, self.reg_scans]
        if self.with_confidence:
            parts.append(self.conf_preds)
        return multi_apply(self.forward_single, x, *parts)

    def forward_single(
        self,
        x: Tensor,
        cls_pred: nn.Module,
        reg_pred: nn.Module,
        stem_scan: nn.Module,
        cls_scan: nn.Module,
        reg_scan: nn.Module,
        conf_pred: Optional[nn.Module] = None,
    ) -> Tuple[Tensor, ...]:
        """Predict one level, in float32 also under autocast.

        Args:
            x (Tensor): Features ``(B, C, H, W)``.
            cls_pred (nn.Module): The level's class branch.
            reg_pred (nn.Module): The level's box branch.
            stem_scan (nn.Module): The scan before both branches.
            cls_scan (nn.Module): The class branch's scan.
            reg_scan (nn.Module): The box branch's scan.
            conf_pred (nn.Module, optional): The confidence branch.

        Returns:
            tuple[Tensor]: As :meth:`YOLOv9HeadModule.forward_single`, and
            the confidence's logits ``(B, 1, H, W)`` where there are any.
        """
        x = stem_scan(x)
        features = [
            branch[1](scan(branch[0](x)))
            for branch, scan in ((cls_pred, cls_scan), (reg_pred, reg_scan))
        ]
        outs = self.decode(cls_pred[2](features[0]), reg_pred[2](features[1]))
        if conf_pred is not None:
            outs = (*outs, conf_pred(features[1]).float())
        return outs
