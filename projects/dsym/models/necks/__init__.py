from .yolov9_pafpn import YOLOv9PAFPN

__all__ = ['YOLOv9PAFPN']
