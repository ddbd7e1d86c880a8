"""YOLOv9-m on COCO with the published schedule. Not run by this project."""
_base_ = './yolov9-t_8xb16-500e_coco.py'

model = dict(
    backbone=dict(arch='m'),
    neck=dict(arch='m'),
    bbox_head=dict(
        head_module=dict(in_channels=[240, 360, 480]),
        aux_head_module=dict(in_channels=[240, 360, 480])))
