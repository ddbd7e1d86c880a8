import math
from typing import Tuple

import torch
from torch import Tensor, nn

from .build import load_ops

TILE = 32  # the largest kTile of bn_silu.cpp


def can_fuse(x: Tensor, *norms: nn.Module) -> bool:
    """Whether :func:`bn_silu` takes a tensor and its normalizations.

    Args:
        x (Tensor): Input of the normalization.
        *norms (nn.Module): The normalizations.

    Returns:
        bool: True for channels-last float32 or bfloat16 features on a CPU
        that plain batch normalizations with running statistics see in
        training, where the operators could be compiled.
    """
    return (
        x.device.type == 'cpu'
        and x.dtype in (torch.float32, torch.bfloat16)
        and x.is_contiguous(memory_format=torch.channels_last)
        and all(
            type(norm) is nn.BatchNorm2d
            and norm.training
            and norm.track_running_stats
            and norm.momentum is not None
            and norm.weight is not None
            and norm.weight.dtype == torch.float32
            for norm in norms
        )
        and _is_foldable(x)
        and load_ops()
    )


def _is_foldable(x: Tensor) -> bool:
    """Whether the rows of C channels make whole rows of 32 k channels.

    A single row has no variance, which PyTorch's own norm says clearly.
    """
    channels = x.size(1)
    rows = x.numel() // channels
    return rows > 1 and rows % (TILE // math.gcd(TILE, channels)) == 0


def _parts(norm: nn.BatchNorm2d) -> Tuple[Tensor, ...]:
    norm.num_batches_tracked.add_(1)
    return norm.weight, norm.bias, norm.running_mean, norm.running_var


def bn_silu(x: Tensor, norm: nn.BatchNorm2d) -> Tensor:
    """``silu(norm(x))`` in training, as one operator.

    Args:
        x (Tensor): ``(N, C, H, W)``, as :func:`can_fuse` wants it.
        norm (nn.BatchNorm2d): Its normalization, whose running statistics are
            updated.

    Returns:
        Tensor: ``(N, C, H, W)``.
    """
    return torch.ops.dsym.bn_silu(x, *_parts(norm), norm.momentum, norm.eps)


def bn2_silu(
    x0: Tensor, norm0: nn.BatchNorm2d, x1: Tensor, norm1: nn.BatchNorm2d
) -> Tensor:
    """``silu(norm0(x0) + norm1(x1))`` in training, as in a RepConv.

    Args:
        x0 (Tensor): ``(N, C, H, W)``, as :func:`can_fuse` wants it.
        norm0 (nn.BatchNorm2d): Its normalization.
        x1 (Tensor): Of the same shape and type.
        norm1 (nn.BatchNorm2d): Its normalization, with momentum and eps of
            the other.

    Returns:
        Tensor: ``(N, C, H, W)``.
    """
    return torch.ops.dsym.bn2_silu(
        x0,
        *_parts(norm0),
        x1,
        *_parts(norm1),
        norm0.momentum,
        norm0.eps,
    )
