from typing import Dict, List, NamedTuple, Sequence, Tuple, Type

import torch
import torch.nn as nn
from mmdet.utils import ConfigType, OptMultiConfig
from mmengine.model import BaseModule
from mmengine.registry import MODELS
from mmyolo.models.necks import BaseYOLONeck
from torch import Tensor

from ...errors import InputError
from ..layers import SPPELAN, AConv, ADown, RepNCSPELAN4
from ..utils import init_like_torch


class Block(NamedTuple):
    """Channels of one GELAN block of the neck."""

    out_channels: int
    mid_channels: int
    block_channels: int


class Arch(NamedTuple):
    """The neck of one size of YOLOv9.

    Attributes:
        in_channels (tuple): Channels of the main features C3, C4 and C5.
        spp (tuple): Output and inner channels of SPPELAN.
        top_down (tuple): Blocks at strides 16 and 8, in that order.
        down_channels (tuple): Channels after the two down-samplings.
        bottom_up (tuple): Blocks at strides 16 and 32.
        downsample (type): How the bottom-up path halves the resolution.
        num_blocks (int): RepNBottlenecks of every CSP block.
        aux (str): The auxiliary neck: ``'fpn'`` is a second top-down path on
            features as wide as the main ones, ``'identity'`` hands those of
            the auxiliary trunk on.
    """

    in_channels: Tuple[int, int, int]
    spp: Tuple[int, int]
    top_down: Tuple[Block, Block]
    down_channels: Tuple[int, int]
    bottom_up: Tuple[Block, Block]
    downsample: Type[nn.Module]
    num_blocks: int
    aux: str


def _small(width: int) -> Arch:
    """YOLOv9-t (width 16) and -s (width 32)."""
    p3, p4, p5 = (
        Block(width * k, width * k, width * k // 2) for k in (4, 6, 8)
    )
    channels = (width * 4, width * 6, width * 8)
    return Arch(
        channels,
        (width * 8, width * 4),
        (p4, p3),
        (width * 3, width * 4),
        (p4, p5),
        AConv,
        3,
        'fpn',
    )


ARCHS: Dict[str, Arch] = dict(
    t=_small(16),
    s=_small(32),
    m=Arch(
        (240, 360, 480),
        (480, 240),
        (Block(360, 360, 180), Block(240, 240, 120)),
        # the first is 180 in the paper's table, rounded up to a multiple of 8
        (184, 240),
        (Block(360, 360, 180), Block(480, 480, 240)),
        AConv,
        1,
        'identity',
    ),
    c=Arch(
        (512, 512, 512),
        (512, 256),
        (Block(512, 512, 256), Block(256, 256, 128)),
        (256, 512),
        (Block(512, 512, 256), Block(512, 512, 256)),
        ADown,
        1,
        'identity',
    ),
    e=Arch(
        (512, 1024, 1024),
        (512, 256),
        (Block(512, 512, 256), Block(256, 256, 128)),
        (256, 512),
        (Block(512, 512, 256), Block(512, 1024, 512)),
        ADown,
        2,
        'fpn',
    ),
)


class AuxiliaryFPN(BaseModule):
    """The auxiliary neck of YOLOv9-t, -s and -e: SPPELAN and a top-down path.

    Args:
        arch (Arch): The neck's size.
        norm_cfg (dict): Normalization.
        act_cfg (dict): Activation.
    """

    def __init__(self, arch: Arch, norm_cfg: ConfigType, act_cfg: ConfigType):
        super().__init__()
        cfg = dict(norm_cfg=norm_cfg, act_cfg=act_cfg)
        c3, c4, c5 = arch.in_channels
        p4, p3 = arch.top_down
        self.spp = SPPELAN(c5, *arch.spp, **cfg)
        self.upsample = nn.Upsample(scale_factor=2, mode='nearest')
        self.top_down_layers = nn.ModuleList(
            [
                RepNCSPELAN4(arch.spp[0] + c4, *p4, arch.num_blocks, **cfg),
                RepNCSPELAN4(
                    p4.out_channels + c3, *p3, arch.num_blocks, **cfg
                ),
            ]
        )

    def forward(self, inputs: Sequence[Tensor]) -> Tuple[Tensor, ...]:
        """Fuse the auxiliary features.

        Args:
            inputs (Sequence[Tensor]): At strides 8, 16 and 32.

        Returns:
            tuple[Tensor]: At strides 8, 16 and 32.
        """
        outs = [self.spp(inputs[2])]
        for layer, low in zip(self.top_down_layers, (inputs[1], inputs[0])):
            outs.insert(0, layer(torch.cat((self.upsample(outs[0]), low), 1)))
        return tuple(outs)


@MODELS.register_module()
class YOLOv9PAFPN(BaseYOLONeck):
    """Path-aggregation neck of YOLOv9 in its five sizes.

    Takes three main features and, in training with ``with_aux``, three
    auxiliary ones after them; gives as many.

    Args:
        arch (str): 't', 's', 'm', 'c' or 'e', as the backbone's. Defaults to
            't'.
        with_aux (bool): Whether auxiliary features come in training. Defaults
            to True.
        freeze_all (bool): Whether to freeze the neck. Defaults to False.
        norm_cfg (dict): Normalization. Defaults to BN(0.03, 1e-3).
        act_cfg (dict): Activation. Defaults to SiLU.
        init_cfg (dict, optional): Initialization; torch's own by default.

    Raises:
        InputError: If there is no such size.
    """

    def __init__(
        self,
        arch: str = 't',
        with_aux: bool = True,
        freeze_all: bool = False,
        norm_cfg: ConfigType = dict(type='BN', momentum=0.03, eps=0.001),
        act_cfg: ConfigType = dict(type='SiLU', inplace=True),
        init_cfg: OptMultiConfig = None,
    ):
        if arch not in ARCHS:
            raise InputError(
                f'neck.arch is {arch!r}; YOLOv9 has the sizes '
                f'{", ".join(ARCHS)}'
            )
        self.arch = ARCHS[arch]
        out_channels: List[int] = [
            self.arch.top_down[1].out_channels,
            *(block.out_channels for block in self.arch.bottom_up),
        ]
        super().__init__(
            in_channels=list(self.arch.in_channels),
            out_channels=out_channels,
            freeze_all=freeze_all,
            norm_cfg=norm_cfg,
            act_cfg=act_cfg,
            init_cfg=init_cfg,
        )
        self.with_aux = with_aux
        self.aux_neck = None
        if with_aux and self.arch.aux == 'fpn':
            self.aux_neck = AuxiliaryFPN(self.arch, norm_cfg, act_cfg)

    @property
    def _cfg(self) -> dict:
        return dict(norm_cfg=self.norm_cfg, act_cfg=self.act_cfg)

    def _block(self, in_channels: int, block: Block) -> nn.Module:
        return RepNCSPELAN4(
            in_channels, *block, self.arch.num_blocks, **self._cfg
        )

    def build_reduce_layer(self, idx: int) -> nn.Module:
        """SPPELAN at stride 32, nothing elsewhere."""
        if idx < 2:
            return nn.Identity()
        return SPPELAN(self.arch.in_channels[2], *self.arch.spp, **self._cfg)

    def build_upsample_layer(self, idx: int) -> nn.Module:
        """Twice the resolution by the nearest place."""
        return nn.Upsample(scale_factor=2, mode='nearest')

    def build_top_down_layer(self, idx: int) -> nn.Module:
        """GELAN block on the upper feature and C4 (``idx`` 2) or C3 (1)."""
        p4, p3 = self.arch.top_down
        if idx == 2:
            return self._block(self.arch.spp[0] + self.arch.in_channels[1], p4)
        return self._block(p4.out_channels + self.arch.in_channels[0], p3)

    def build_downsample_layer(self, idx: int) -> nn.Module:
        """Half the resolution, AConv or ADown by size."""
        sources = (self.arch.top_down[1], self.arch.bottom_up[0])
        return self.arch.downsample(
            sources[idx].out_channels,
            self.arch.down_channels[idx],
            **self._cfg,
        )

    def build_bottom_up_layer(self, idx: int) -> nn.Module:
        """GELAN block on the lower feature and P4 (``idx`` 0) or C5 (1)."""
        lateral = (self.arch.top_down[0].out_channels, self.arch.spp[0])[idx]
        return self._block(
            self.arch.down_channels[idx] + lateral, self.arch.bottom_up[idx]
        )

    def build_out_layer(self, idx: int) -> nn.Module:
        """Nothing."""
        return nn.Identity()

    def init_weights(self) -> None:
        """Initialize the weights: torch's own way without ``init_cfg``."""
        if self.init_cfg is None:
            init_like_torch(self)
        else:
            super().init_weights()

    def forward(self, inputs: Sequence[Tensor]) -> Tuple[Tensor, ...]:
        """Fuse the features.

        Args:
            inputs (Sequence[Tensor]): Three main features, then none or three
                auxiliary ones, at strides 8, 16 and 32.

        Returns:
            tuple[Tensor]: As many features, in the same order.
        """
        num_levels = len(self.in_channels)
        outs = super().forward(inputs[:num_levels])
        aux = tuple(inputs[num_levels:]) if self.with_aux else ()
        if aux and self.aux_neck is not None:
            aux = self.aux_neck(aux)
        return outs + aux
