from .backbones import YOLOv9Backbone
from .dense_heads import (
    MambaHead,
    MambaHeadModule,
    YOLOv9Head,
    YOLOv9HeadModule,
)
from .necks import YOLOv9PAFPN
from .task_modules import SparseTaskAlignedAssigner

__all__ = [
    'MambaHead',
    'MambaHeadModule',
    'SparseTaskAlignedAssigner',
    'YOLOv9Backbone',
    'YOLOv9Head',
    'YOLOv9HeadModule',
    'YOLOv9PAFPN',
]
