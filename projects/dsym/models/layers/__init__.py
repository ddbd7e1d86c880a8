from .gelan import (ELAN1, SPPELAN, AConv, ADown, CBLinear, RepConvN,
                    RepNBottleneck, RepNCSP, RepNCSPELAN4, cb_fuse)

__all__ = [
    'AConv', 'ADown', 'CBLinear', 'ELAN1', 'RepConvN', 'RepNBottleneck',
    'RepNCSP', 'RepNCSPELAN4', 'SPPELAN', 'cb_fuse'
]
