"""YOLOv9-s on COCO with the published schedule. Not run by this project."""
_base_ = './yolov9-t_8xb16-500e_coco.py'

model = dict(
    backbone=dict(arch='s'),
    neck=dict(arch='s'),
    bbox_head=dict(
        head_module=dict(in_channels=[128, 192, 256]),
        aux_head_module=dict(in_channels=[128, 192, 256])))
