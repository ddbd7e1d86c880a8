"""Building blocks of YOLOv9's GELAN and of its auxiliary (PGI) branch.

Written from the architecture of YOLOv9 ("YOLOv9: Learning What You Want to
Learn Using Programmable Gradient Information", arXiv:2402.13616) on mmcv's
ConvModule and mmyolo's ``RepVGGBlock``. Shapes are ``(B, C, H, W)``.
"""

from typing import Sequence

import torch
import torch.nn as nn
import torch.nn.functional as F
from mmdet.utils import ConfigType
from mmyolo.models.layers import RepVGGBlock
from torch import Tensor

from ...ops import bn2_silu, can_fuse
from .conv_bn_silu import ConvBNSiLU

NORM_CFG = dict(type='BN', momentum=0.03, eps=0.001)
ACT_CFG = dict(type='SiLU', inplace=True)


class RepConvN(RepVGGBlock):
    """``act(BN(conv3x3 x) + BN(conv1x1 x))``, one 3x3 convolution in deploy.

    mmyolo's ``RepVGGBlock`` without its identity branch; being one, the stock
    ``SwitchToDeployHook`` re-parameterises it.

    Args:
        in_channels (int): Channels of the input.
        out_channels (int): Channels of the output.
        norm_cfg (dict): Normalization. Defaults to BN(0.03, 1e-3).
        act_cfg (dict): Activation. Defaults to SiLU.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        norm_cfg: ConfigType = NORM_CFG,
        act_cfg: ConfigType = ACT_CFG,
    ):
        super().__init__(
            in_channels,
            out_channels,
            norm_cfg=norm_cfg,
            act_cfg=act_cfg,
            use_bn_first=False,
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C_in, H, W)`` to ``(B, C_out, H, W)``."""
        if not self.training or self.deploy:
            return super().forward(x)
        # the two branches' norms and the activation as one operator
        main, point = self.rbr_dense, self.rbr_1x1
        features = main.conv(x), point.conv(x)
        if isinstance(self.nonlinearity, nn.SiLU) and all(
            can_fuse(feature, branch.norm)
            for feature, branch in zip(features, (main, point))
        ):
            return bn2_silu(features[0], main.norm, features[1], point.norm)
        return self.nonlinearity(
            main.norm(features[0]) + point.norm(features[1])
        )


class RepNBottleneck(nn.Module):
    """RepConvN, 3x3 convolution and a residual.

    Args:
        channels (int): Channels of input and output.
        norm_cfg (dict): Normalization. Defaults to BN(0.03, 1e-3).
        act_cfg (dict): Activation. Defaults to SiLU.
    """

    def __init__(
        self,
        channels: int,
        norm_cfg: ConfigType = NORM_CFG,
        act_cfg: ConfigType = ACT_CFG,
    ):
        super().__init__()
        self.conv1 = RepConvN(channels, channels, norm_cfg, act_cfg)
        self.conv2 = ConvBNSiLU(
            channels,
            channels,
            3,
            padding=1,
            norm_cfg=norm_cfg,
            act_cfg=act_cfg,
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C, H, W)`` to ``(B, C, H, W)``."""
        return x + self.conv2(self.conv1(x))


class RepNCSP(nn.Module):
    """Cross-stage-partial block: ``final(cat(blocks(main x), short x))``.

    Args:
        in_channels (int): Channels of the input.
        out_channels (int): Channels of the output; both paths get half.
        num_blocks (int): RepNBottlenecks of the main path.
        norm_cfg (dict): Normalization. Defaults to BN(0.03, 1e-3).
        act_cfg (dict): Activation. Defaults to SiLU.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        num_blocks: int = 1,
        norm_cfg: ConfigType = NORM_CFG,
        act_cfg: ConfigType = ACT_CFG,
    ):
        super().__init__()
        cfg = dict(norm_cfg=norm_cfg, act_cfg=act_cfg)
        mid_channels = out_channels // 2
        self.main_conv = ConvBNSiLU(in_channels, mid_channels, 1, **cfg)
        self.short_conv = ConvBNSiLU(in_channels, mid_channels, 1, **cfg)
        self.final_conv = ConvBNSiLU(2 * mid_channels, out_channels, 1, **cfg)
        self.blocks = nn.Sequential(
            *[RepNBottleneck(mid_channels, **cfg) for _ in range(num_blocks)]
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C_in, H, W)`` to ``(B, C_out, H, W)``."""
        return self.final_conv(
            torch.cat((self.blocks(self.main_conv(x)), self.short_conv(x)), 1)
        )


class RepNCSPELAN4(nn.Module):
    """The GELAN block: an ELAN whose computation is a CSP block.

    A 1x1 convolution to ``mid_channels``, split into two halves; two chained
    ``[block, 3x3 convolution]`` on the second half; everything concatenated
    and projected: ``mid + 2 * block_channels -> out_channels``.

    Args:
        in_channels (int): Channels of the input.
        out_channels (int): Channels of the output.
        mid_channels (int): Channels after the first convolution.
        block_channels (int): Channels of either computational block.
        num_blocks (int): RepNBottlenecks of a CSP block. Defaults to 1.
        norm_cfg (dict): Normalization. Defaults to BN(0.03, 1e-3).
        act_cfg (dict): Activation. Defaults to SiLU.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        mid_channels: int,
        block_channels: int,
        num_blocks: int = 1,
        norm_cfg: ConfigType = NORM_CFG,
        act_cfg: ConfigType = ACT_CFG,
    ):
        super().__init__()
        self.num_blocks = num_blocks
        self.cfg = dict(norm_cfg=norm_cfg, act_cfg=act_cfg)
        self.main_conv = ConvBNSiLU(in_channels, mid_channels, 1, **self.cfg)
        self.block1 = self.build_block(mid_channels // 2, block_channels)
        self.block2 = self.build_block(block_channels, block_channels)
        self.final_conv = ConvBNSiLU(
            mid_channels + 2 * block_channels, out_channels, 1, **self.cfg
        )

    def build_block(self, in_channels: int, out_channels: int) -> nn.Module:
        """Build one of the two chained computational blocks."""
        return nn.Sequential(
            RepNCSP(in_channels, out_channels, self.num_blocks, **self.cfg),
            ConvBNSiLU(out_channels, out_channels, 3, padding=1, **self.cfg),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C_in, H, W)`` to ``(B, C_out, H, W)``."""
        first, second = self.main_conv(x).chunk(2, 1)
        third = self.block1(second)
        fourth = self.block2(third)
        return self.final_conv(torch.cat((first, second, third, fourth), 1))


class ELAN1(RepNCSPELAN4):
    """The GELAN block with plain 3x3 convolutions (YOLOv9-t and -s)."""

    def build_block(self, in_channels: int, out_channels: int) -> nn.Module:
        """Build one of the two 3x3 convolutions."""
        return ConvBNSiLU(in_channels, out_channels, 3, padding=1, **self.cfg)


class AConv(ConvBNSiLU):
    """Halve the resolution: 2x2 average at stride 1, 3x3 conv at stride 2.

    Args:
        in_channels (int): Channels of the input.
        out_channels (int): Channels of the output.
        norm_cfg (dict): Normalization. Defaults to BN(0.03, 1e-3).
        act_cfg (dict): Activation. Defaults to SiLU.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        norm_cfg: ConfigType = NORM_CFG,
        act_cfg: ConfigType = ACT_CFG,
    ):
        super().__init__(
            in_channels,
            out_channels,
            3,
            stride=2,
            padding=1,
            norm_cfg=norm_cfg,
            act_cfg=act_cfg,
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C_in, H, W)`` to ``(B, C_out, H / 2, W / 2)``."""
        return super().forward(F.avg_pool2d(x, 2, 1))


class ADown(nn.Module):
    """Halve the resolution by two paths, each with half of the channels.

    2x2 average at stride 1, then a 3x3 convolution at stride 2 beside a 3x3
    maximum at stride 2 with a 1x1 convolution.

    Args:
        in_channels (int): Channels of the input.
        out_channels (int): Channels of the output.
        norm_cfg (dict): Normalization. Defaults to BN(0.03, 1e-3).
        act_cfg (dict): Activation. Defaults to SiLU.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        norm_cfg: ConfigType = NORM_CFG,
        act_cfg: ConfigType = ACT_CFG,
    ):
        super().__init__()
        cfg = dict(norm_cfg=norm_cfg, act_cfg=act_cfg)
        self.conv = ConvBNSiLU(
            in_channels // 2, out_channels // 2, 3, stride=2, padding=1, **cfg
        )
        self.pool_conv = ConvBNSiLU(
            in_channels // 2, out_channels // 2, 1, **cfg
        )

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C_in, H, W)`` to ``(B, C_out, H / 2, W / 2)``."""
        first, second = F.avg_pool2d(x, 2, 1).chunk(2, 1)
        second = F.max_pool2d(second, 3, 2, 1)
        return torch.cat((self.conv(first), self.pool_conv(second)), 1)


class SPPELAN(nn.Module):
    """Spatial pyramid pooling in ELAN form: three chained 5x5 maxima.

    Args:
        in_channels (int): Channels of the input.
        out_channels (int): Channels of the output.
        mid_channels (int): Channels that are pooled.
        norm_cfg (dict): Normalization. Defaults to BN(0.03, 1e-3).
        act_cfg (dict): Activation. Defaults to SiLU.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        mid_channels: int,
        norm_cfg: ConfigType = NORM_CFG,
        act_cfg: ConfigType = ACT_CFG,
    ):
        super().__init__()
        cfg = dict(norm_cfg=norm_cfg, act_cfg=act_cfg)
        self.conv1 = ConvBNSiLU(in_channels, mid_channels, 1, **cfg)
        self.conv2 = ConvBNSiLU(4 * mid_channels, out_channels, 1, **cfg)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(B, C_in, H, W)`` to ``(B, C_out, H, W)``."""
        outs = [self.conv1(x)]
        for _ in range(3):
            outs.append(F.max_pool2d(outs[-1], 5, 1, 2))
        return self.conv2(torch.cat(outs, 1))


class CBLinear(nn.Module):
    """Project one feature map for several levels of a second trunk.

    Args:
        in_channels (int): Channels of the input.
        out_channels (Sequence[int]): Channels of every output.
    """

    def __init__(self, in_channels: int, out_channels: Sequence[int]):
        super().__init__()
        self.out_channels = list(out_channels)
        self.conv = nn.Conv2d(in_channels, sum(out_channels), 1)

    def forward(self, x: Tensor) -> Sequence[Tensor]:
        """Map ``(B, C_in, H, W)`` to one ``(B, C_i, H, W)`` an output."""
        return self.conv(x).split(self.out_channels, 1)


def cb_fuse(x: Tensor, others: Sequence[Tensor]) -> Tensor:
    """Add feature maps of other levels, resized to ``x`` (CBFuse).

    Args:
        x (Tensor): Shape ``(B, C, H, W)``.
        others (Sequence[Tensor]): Each ``(B, C, h, w)``, any resolution.

    Returns:
        Tensor: The sum, shape ``(B, C, H, W)``.
    """
    for other in others:
        x = x + F.interpolate(other, size=x.shape[2:], mode='nearest')
    return x
