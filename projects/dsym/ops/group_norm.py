import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .build import load_ops


class InferenceGroupNorm(nn.Module):
    """A group normalization, with or without SiLU, as one operator.

    Of channels-last float32 or bfloat16 features on a CPU, where no gradient
    is asked for and the operators could be compiled. Elsewhere it is
    PyTorch's own norm and activation.

    Args:
        norm (nn.GroupNorm): What it does; its parameters are shared.
        silu (bool): Whether SiLU follows. Defaults to True.
    """

    def __init__(self, norm: nn.GroupNorm, silu: bool = True) -> None:
        super().__init__()
        self.norm = norm
        self.silu = silu

    def forward(self, x: Tensor) -> Tensor:
        """Normalize ``(N, C, H, W)``."""
        norm = self.norm
        if self.can_fuse(x):
            return torch.ops.dsym.group_norm(
                x, norm.num_groups, norm.weight, norm.bias, norm.eps, self.silu
            )
        x = norm(x)
        return F.silu(x) if self.silu else x

    def can_fuse(self, x: Tensor) -> bool:
        """Whether the operator takes these features."""
        return (
            not torch.is_grad_enabled()
            and x.device.type == 'cpu'
            and x.dtype in (torch.float32, torch.bfloat16)
            and x.dim() == 4
            and x.is_contiguous(memory_format=torch.channels_last)
            and self.norm.affine
            and self.norm.weight.dtype == torch.float32
            and load_ops()
            and x.size(1) % (torch.ops.dsym.vector_bytes() // 4) == 0
        )
