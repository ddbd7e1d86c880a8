from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple, Type

import torch.nn as nn
from mmdet.utils import ConfigType, OptMultiConfig
from mmengine.registry import MODELS
from mmyolo.models.backbones import BaseBackbone
from torch import Tensor

from ...errors import InputError
from ..layers import (
    ELAN1,
    AConv,
    ADown,
    CBLinear,
    ConvBNSiLU,
    RepNCSPELAN4,
    cb_fuse,
)
from ..utils import init_like_torch


class Stage(NamedTuple):
    """One stage of a GELAN trunk.

    ``in_channels`` comes first and ``out_channels`` second, where mmyolo's
    ``BaseBackbone`` looks for them when it builds plugins.
    """

    in_channels: int
    out_channels: int
    mid_channels: int
    block_channels: int
    num_blocks: int = 1
    block: Type[nn.Module] = RepNCSPELAN4


class Arch(NamedTuple):
    """A size of YOLOv9.

    Attributes:
        stem_channels (int): Channels at stride 2.
        downsample (type): How a stage halves the resolution.
        down_channels (tuple): Channels after the down-sampling of stages 1-4.
        stages (tuple): The stages at strides 4, 8, 16 and 32.
        second_trunk (str): What a second trunk is for: ``'none'``,
            ``'aux'`` (only the auxiliary branch of training) or ``'main'``
            (the features of the detector).
    """

    stem_channels: int
    downsample: Type[nn.Module]
    down_channels: Tuple[int, ...]
    stages: Tuple[Stage, ...]
    second_trunk: str = 'none'


def _small(width: int) -> Arch:
    """YOLOv9-t (width 16) and -s (width 32)."""
    channels = [width * k for k in (2, 4, 6, 8)]
    return Arch(
        width,
        AConv,
        tuple(channels),
        (
            Stage(channels[0], channels[0], channels[0], width, block=ELAN1),
            *(Stage(c, c, c, c // 2, 3) for c in channels[1:]),
        ),
    )


ARCHS: Dict[str, Arch] = dict(
    t=_small(16),
    s=_small(32),
    m=Arch(
        32,
        AConv,
        (64, 240, 360, 480),
        (
            Stage(64, 128, 128, 64),
            Stage(240, 240, 240, 120),
            Stage(360, 360, 360, 180),
            Stage(480, 480, 480, 240),
        ),
        'aux',
    ),
    c=Arch(
        64,
        ADown,
        (128, 256, 512, 512),
        (
            Stage(128, 256, 128, 64),
            Stage(256, 512, 256, 128),
            Stage(512, 512, 512, 256),
            Stage(512, 512, 512, 256),
        ),
        'aux',
    ),
    e=Arch(
        64,
        ADown,
        (128, 256, 512, 1024),
        (
            Stage(128, 256, 128, 64, 2),
            Stage(256, 512, 256, 128, 2),
            Stage(512, 1024, 512, 256, 2),
            Stage(1024, 1024, 512, 256, 2),
        ),
        'main',
    ),
)


class GELANTrunk(BaseBackbone):
    """A stem and four stages, each ``[down-sampling, GELAN block]``.

    Args:
        arch (Arch): The size.
        norm_cfg (dict): Normalization.
        act_cfg (dict): Activation.
        **kwargs: As mmyolo's ``BaseBackbone``.
    """

    def __init__(self, arch: Arch, **kwargs):
        self.arch = arch
        super().__init__(arch_setting=list(arch.stages), **kwargs)

    def build_stem_layer(self) -> nn.Module:
        """3x3 convolution at stride 2."""
        return ConvBNSiLU(
            self.input_channels,
            self.arch.stem_channels,
            3,
            stride=2,
            padding=1,
            norm_cfg=self.norm_cfg,
            act_cfg=self.act_cfg,
        )

    def build_stage_layer(
        self, stage_idx: int, setting: Stage
    ) -> List[nn.Module]:
        """Half the resolution, then a GELAN block."""
        cfg = dict(norm_cfg=self.norm_cfg, act_cfg=self.act_cfg)
        down_channels = self.arch.down_channels[stage_idx]
        if stage_idx == 0:
            down = ConvBNSiLU(
                self.arch.stem_channels,
                down_channels,
                3,
                stride=2,
                padding=1,
                **cfg,
            )
        else:
            down = self.arch.downsample(
                self.arch.stages[stage_idx - 1].out_channels,
                down_channels,
                **cfg,
            )
        block = setting.block(
            down_channels,
            setting.out_channels,
            setting.mid_channels,
            setting.block_channels,
            setting.num_blocks,
            **cfg,
        )
        return [down, block]

    def forward_all(
        self, x: Tensor, fused: Optional[Sequence[Sequence[Tensor]]] = None
    ) -> List[Tensor]:
        """Run every stage.

        Args:
            x (Tensor): Images, shape ``(B, 3, H, W)``.
            fused (list, optional): For the stem and each stage the feature
                maps to add after its down-sampling.

        Returns:
            list[Tensor]: The outputs at strides 2, 4, 8, 16 and 32.
        """
        outs = []
        for i, name in enumerate(self.layers):
            layers = getattr(self, name)
            down, rest = (layers, ()) if i == 0 else (layers[0], layers[1:])
            x = down(x)
            if fused is not None:
                x = cb_fuse(x, fused[i])
            for layer in rest:
                x = layer(x)
            outs.append(x)
        return outs


class CompositeTrunk(GELANTrunk):
    """A second trunk that sees the image and every level of a first one.

    Each level of the first trunk is projected (``CBLinear``) for its own and
    all finer fused levels, and added there (``CBFuse``).

    Args:
        arch (Arch): The size, the same as the first trunk's.
        first_level (int): The finest level that is fused: 0 is the stem,
            i the stage i.
        **kwargs: As ``GELANTrunk``.
    """

    def __init__(self, arch: Arch, first_level: int, **kwargs):
        super().__init__(arch, **kwargs)
        self.first_level = first_level
        sources = [arch.stem_channels, *(s.out_channels for s in arch.stages)]
        targets = [arch.stem_channels, *arch.down_channels]
        self.laterals = nn.ModuleList(
            CBLinear(sources[level], targets[first_level : level + 1])
            for level in range(first_level, len(sources))
        )

    def forward_all(self, x: Tensor, features: List[Tensor]) -> List[Tensor]:
        """Run every stage on the image and the first trunk's features.

        Args:
            x (Tensor): Images, shape ``(B, 3, H, W)``.
            features (list[Tensor]): The first trunk's five outputs.

        Returns:
            list[Tensor]: The outputs at strides 2, 4, 8, 16 and 32.
        """
        fused: List[List[Tensor]] = [[] for _ in features]
        for lateral, feature in zip(
            self.laterals, features[self.first_level :]
        ):
            for level, out in enumerate(lateral(feature), self.first_level):
                fused[level].append(out)
        return super().forward_all(x, fused)


@MODELS.register_module()
class YOLOv9Backbone(GELANTrunk):
    """Backbone of YOLOv9 in its five sizes (arXiv:2402.13616).

    In training, with ``with_aux``, the features of the auxiliary (PGI) branch
    follow the main ones. What they are depends on the size:

    - t, s: the main features again; ``YOLOv9PAFPN`` gives them a neck.
    - m, c: a second, composite trunk on the image and the main features.
    - e: the first trunk; the main features are then those of the composite
      trunk, which therefore stays at inference.

    Args:
        arch (str): 't', 's', 'm', 'c' or 'e'. Defaults to 't'.
        with_aux (bool): Whether to give the auxiliary features in training.
            Defaults to True.
        input_channels (int): Channels of the images. Defaults to 3.
        out_indices (Sequence[int]): Levels that are given; 0 is the stem, i
            the stage i. Defaults to (2, 3, 4): strides 8, 16 and 32.
        frozen_stages (int): The stem and stages 1 to this one are frozen, in
            both trunks of e; -1 means none. Defaults to -1.
        plugins (list[dict], optional): As mmyolo's ``BaseBackbone``.
        norm_cfg (dict): Normalization. Defaults to BN(0.03, 1e-3).
        act_cfg (dict): Activation. Defaults to SiLU.
        norm_eval (bool): Whether BN stays in eval mode. Defaults to False.
        init_cfg (dict, optional): Initialization; torch's own by default.

    Raises:
        InputError: If there is no such size.
    """

    def __init__(
        self,
        arch: str = 't',
        with_aux: bool = True,
        input_channels: int = 3,
        out_indices: Sequence[int] = (2, 3, 4),
        frozen_stages: int = -1,
        plugins: Optional[List[dict]] = None,
        norm_cfg: ConfigType = dict(type='BN', momentum=0.03, eps=0.001),
        act_cfg: ConfigType = dict(type='SiLU', inplace=True),
        norm_eval: bool = False,
        init_cfg: OptMultiConfig = None,
    ):
        if arch not in ARCHS:
            raise InputError(
                f'backbone.arch is {arch!r}; YOLOv9 has the '
                f'sizes {", ".join(ARCHS)}'
            )
        setting = ARCHS[arch]
        super().__init__(
            setting,
            input_channels=input_channels,
            out_indices=out_indices,
            frozen_stages=frozen_stages,
            plugins=plugins,
            norm_cfg=norm_cfg,
            act_cfg=act_cfg,
            norm_eval=norm_eval,
            init_cfg=init_cfg,
        )
        self.with_aux = with_aux

        def second_trunk(first_level: int, frozen: int) -> CompositeTrunk:
            return CompositeTrunk(
                setting,
                first_level,
                input_channels=input_channels,
                frozen_stages=frozen,
                norm_cfg=norm_cfg,
                act_cfg=act_cfg,
                norm_eval=norm_eval,
            )

        # e fuses every level, m and c only the three they give on
        self.composite = self.aux_trunk = None
        if setting.second_trunk == 'main':
            self.composite = second_trunk(0, frozen_stages)
        elif setting.second_trunk == 'aux' and with_aux:
            self.aux_trunk = second_trunk(2, -1)

    def init_weights(self) -> None:
        """Initialize the weights: torch's own way without ``init_cfg``."""
        if self.init_cfg is None:
            init_like_torch(self)
        else:
            super().init_weights()

    def forward(self, x: Tensor) -> Tuple[Tensor, ...]:
        """Extract features.

        Args:
            x (Tensor): Images, shape ``(B, 3, H, W)``.

        Returns:
            tuple[Tensor]: The main features at ``out_indices``; in training
            with ``with_aux`` followed by as many auxiliary ones.
        """
        aux_needed = self.training and self.with_aux
        main = aux = self.forward_all(x)
        if self.composite is not None:
            main = self.composite.forward_all(x, main)
        elif self.aux_trunk is not None and aux_needed:
            aux = self.aux_trunk.forward_all(x, main)
        outs = [main[i] for i in self.out_indices]
        if aux_needed:
            outs += [aux[i] for i in self.out_indices]
        return tuple(outs)
