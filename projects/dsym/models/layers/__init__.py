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

__all__ = [
    'ELAN1',
    'SPPELAN',
    'AConv',
    'ADown',
    'CBLinear',
    'RepConvN',
    'RepNBottleneck',
    'RepNCSP',
    'RepNCSPELAN4',
    'cb_fuse',
]
