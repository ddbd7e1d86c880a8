from .yolov9_head import YOLOv9Head, YOLOv9HeadModule

__all__ = ['YOLOv9Head', 'YOLOv9HeadModule']
