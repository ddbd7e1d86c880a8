"""Convolutions with their SiLU as one call, for inference."""

import torch
from mmcv.cnn import ConvModule
from torch import Tensor, nn
from torch.nn import functional as F

from ..models.layers import AConv, ConvBNSiLU, RepConvN


class FusedConv(nn.Module):
    """A convolution, with SiLU or without, whose weights do not change.

    On a CPU it is oneDNN's own fused convolution, with the weights in
    oneDNN's order from the start, where this build of PyTorch has it.

    Args:
        conv (nn.Conv2d): What it does.
        silu (bool): Whether SiLU follows.
        dtype (torch.dtype): Of weights and outputs; inputs are cast to it.
    """

    def __init__(
        self, conv: nn.Conv2d, silu: bool, dtype: torch.dtype
    ) -> None:
        super().__init__()
        self.silu = silu
        self.dtype = dtype
        self.stride, self.padding = [*conv.stride], [*conv.padding]
        self.dilation, self.groups = [*conv.dilation], conv.groups
        weight = conv.weight.detach().to(dtype)
        bias = None if conv.bias is None else conv.bias.detach().to(dtype)
        self.one_call = weight.device.type == 'cpu' and has_fused_conv()
        if self.one_call:
            # the size is a hint for the order; other sizes are as right
            weight = torch.ops.mkldnn._reorder_convolution_weight(
                weight,
                self.padding,
                self.stride,
                self.dilation,
                self.groups,
                [1, conv.in_channels, 32, 32],
            )
        self.register_buffer('weight', weight, persistent=False)
        self.register_buffer('bias', bias, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve ``(N, C_in, H, W)``, and activate."""
        x = x.to(self.dtype)
        if self.one_call:
            return torch.ops.mkldnn._convolution_pointwise(
                x,
                self.weight,
                self.bias,
                self.padding,
                self.stride,
                self.dilation,
                self.groups,
                'swish' if self.silu else 'none',
                [],
                '',
            )
        x = F.conv2d(
            x,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
        )
        return F.silu(x, inplace=True) if self.silu else x


def has_fused_conv() -> bool:
    """Whether this PyTorch has what its own compiler makes convolutions of."""
    return torch.backends.mkldnn.is_available() and all(
        hasattr(torch.ops.mkldnn, name)
        for name in ('_convolution_pointwise', '_reorder_convolution_weight')
    )


def fuse_convs(model: nn.Module, dtype: torch.dtype) -> nn.Module:
    """Put fused convolutions in the place of a model's own.

    Of those whose norms are merged: mmcv's ``ConvModule`` with SiLU or no
    activation, RepConv blocks, and what stands alone in an ``nn.Sequential``.
    Others stay. The model is for inference alone from then on.

    Args:
        model (nn.Module): Of :func:`merge_branches`; changed in place.
        dtype (torch.dtype): Of the fused ones.

    Returns:
        nn.Module: The same model.
    """
    for parent in [*model.modules()]:
        for name, child in [*parent.named_children()]:
            if isinstance(child, ConvModule) and _can_fuse(child):
                silu = child.with_activation
                conv = FusedConv(child.conv, silu, dtype)
                if type(child) in (ConvModule, ConvBNSiLU):
                    setattr(parent, name, conv)
                elif isinstance(child, AConv):
                    child.conv, child.activate = conv, nn.Identity()
            elif (
                isinstance(child, RepConvN)
                and child.deploy
                and isinstance(child.nonlinearity, nn.SiLU)
            ):
                conv = FusedConv(child.rbr_reparam, True, dtype)
                setattr(parent, name, conv)
            elif type(parent) is nn.Sequential and _is_plain(child):
                setattr(parent, name, FusedConv(child, False, dtype))
    return model


def _can_fuse(module: ConvModule) -> bool:
    """Whether it is a convolution, then SiLU or nothing."""
    return (
        _is_plain(module.conv)
        and tuple(module.order) == ('conv', 'norm', 'act')
        and not module.with_explicit_padding
        and (not module.with_norm or isinstance(module.norm, nn.Identity))
        and (
            not module.with_activation or isinstance(module.activate, nn.SiLU)
        )
    )


def _is_plain(conv: nn.Module) -> bool:
    """Whether it is a convolution that zeros surround."""
    return (
        type(conv) is nn.Conv2d
        and conv.padding_mode == 'zeros'
        and not isinstance(conv.padding, str)
    )
