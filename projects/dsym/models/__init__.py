from .backbones import YOLOv9Backbone
from .dense_heads import (
    MambaHead,
    MambaHeadModule,
    YOLOv9Head,
    YOLOv9HeadModule,
)
from .detectors import DSYMDetector, PseudoMixUp, PseudoMosaic
from .losses import ConsistencyLoss
from .necks import YOLOv9PAFPN
from .task_modules import (
    ClassThresholds,
    MixtureThreshold,
    ScoreThreshold,
    SparseTaskAlignedAssigner,
    TwoThresholds,
)

__all__ = [
    'ClassThresholds',
    'ConsistencyLoss',
    'DSYMDetector',
    'MambaHead',
    'MambaHeadModule',
    'MixtureThreshold',
    'PseudoMixUp',
    'PseudoMosaic',
    'ScoreThreshold',
    'SparseTaskAlignedAssigner',
    'TwoThresholds',
    'YOLOv9Backbone',
    'YOLOv9Head',
    'YOLOv9HeadModule',
    'YOLOv9PAFPN',
]
