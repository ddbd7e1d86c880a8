from .yolov9 import YOLOv9Backbone

__all__ = ['YOLOv9Backbone']
