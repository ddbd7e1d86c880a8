from .mamba_head import MambaHead
from .mamba_head_module import MambaHeadModule
from .yolov9_head import YOLOv9Head
from .yolov9_head_module import YOLOv9HeadModule

__all__ = ['MambaHead', 'MambaHeadModule', 'YOLOv9Head', 'YOLOv9HeadModule']
