from .causal_conv import causal_conv_silu
from .conv_bn_silu import ConvBNSiLU
from .gelan import (
    ELAN1,
    SPPELAN,
    AConv,
    ADown,
    CBLinear,
    RepConvN,
    RepNBottleneck,
    RepNCSP,
    RepNCSPELAN4,
    cb_fuse,
)
from .mamba import Mamba
from .scan2d import Scan2D
from .selective_scan import choose_backend, selective_scan

__all__ = [
    'ELAN1',
    'SPPELAN',
    'AConv',
    'ADown',
    'CBLinear',
    'ConvBNSiLU',
    'Mamba',
    'RepConvN',
    'RepNBottleneck',
    'RepNCSP',
    'RepNCSPELAN4',
    'Scan2D',
    'causal_conv_silu',
    'cb_fuse',
    'choose_backend',
    'selective_scan',
]
