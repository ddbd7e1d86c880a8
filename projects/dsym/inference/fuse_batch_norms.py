"""Batch norms as a part of the convolutions before them, for inference."""

import copy

from mmcv.cnn import ConvModule
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import fuse_conv_bn_eval

from ..memory_order import PLAIN


def fuse_batch_norms(model: nn.Module) -> nn.Module:
    """Fuse each batch norm into the convolution that is registered before it.

    As mmcv's ``fuse_conv_bn``, but a convolution that several norms share
    (RTMDet's levels, RetinaSepBN) is fused into as many, and what does
    something else than convolve and then normalize stays as it is:
    ``ConvModule`` of another order, kinds of convolution that change their
    weights.

    Args:
        model (nn.Module): In eval mode; changed in place.

    Returns:
        nn.Module: The same model; equal but for rounding.
    """
    unshare(model)
    for parent in [*model.modules()]:
        if isinstance(parent, ConvModule) and parent.order[:2] != (
            'conv',
            'norm',
        ):
            continue
        last = None
        for name, child in [*parent.named_children()]:
            if isinstance(child, _BatchNorm) and last is not None:
                conv = getattr(parent, last)
                setattr(parent, last, fuse_conv_bn_eval(conv, child))
                setattr(parent, name, nn.Identity())
            last = name if type(child) in PLAIN else None
    return model


def unshare(model: nn.Module) -> None:
    """Give each place of the model a convolution of its own."""
    seen = set()
    for parent in [*model.modules()]:
        for name, child in [*parent._modules.items()]:
            if isinstance(child, nn.Conv2d):
                if id(child) in seen:
                    setattr(parent, name, copy.deepcopy(child))
                seen.add(id(child))
