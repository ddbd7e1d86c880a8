"""YOLOv9-e on COCO with the published schedule. Not run by this project."""
_base_ = './yolov9-t_8xb16-500e_coco.py'

model = dict(
    backbone=dict(arch='e'),
    neck=dict(arch='e'),
    bbox_head=dict(
        head_module=dict(in_channels=[256, 512, 512]),
        aux_head_module=dict(in_channels=[256, 512, 512])))
