"""C++ operators, compiled on first use, with PyTorch's kernels beside them."""

from .build import load_ops
from .fused_norm import bn2_silu, bn_silu, can_fuse
from .group_norm import InferenceGroupNorm
from .multi_tensor import (
    can_batch,
    clip_norm_,
    lerp_,
    muon_apply,
    muon_look_ahead,
)

__all__ = [
    'InferenceGroupNorm',
    'bn2_silu',
    'bn_silu',
    'can_batch',
    'can_fuse',
    'clip_norm_',
    'lerp_',
    'load_ops',
    'muon_apply',
    'muon_look_ahead',
]
