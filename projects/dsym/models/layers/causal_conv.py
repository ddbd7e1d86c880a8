import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .selective_scan import choose_backend


def causal_conv_silu(x: Tensor, conv: nn.Conv1d) -> Tensor:
    """Convolve each channel over the tokens before, then SiLU.

    What causal-conv1d's ``causal_conv1d_fn`` does with
    ``activation='silu'``, in token-major order. The C++ operator does it
    where :func:`choose_backend` names it, in float32 at least.

    Args:
        x (Tensor): ``(B, L, C)``; a slice of more channels is no copy.
        conv (nn.Conv1d): Depthwise, K wide, padded by K - 1.

    Returns:
        Tensor: ``(B, L, C)`` in the type of ``x``.
    """
    length, channels = x.size(1), conv.out_channels
    exact = torch.float64 if x.dtype == torch.float64 else torch.float32
    if choose_backend(x.device, x.dtype) == 'cpp':
        lanes = torch.ops.dsym.vector_bytes() * 8 // torch.finfo(exact).bits
        if channels % lanes == 0:
            bias = x.new_zeros(channels) if conv.bias is None else conv.bias
            weight = conv.weight.squeeze(1).t()
            y = torch.ops.dsym.causal_conv_silu(
                x.to(exact), weight.to(exact), bias.to(exact)
            )
            return y.to(x.dtype)
    return F.silu(conv(x.transpose(1, 2))[..., :length]).transpose(1, 2)
