"""YOLOv9-s from scratch on 20% of NEU-DET's labels, at 224 px."""
_base_ = './yolov9-t_1xb8-75e_neu-det-labeled20.py'

model = dict(
    backbone=dict(arch='s'),
    neck=dict(arch='s'),
    bbox_head=dict(
        head_module=dict(in_channels=[128, 192, 256]),
        aux_head_module=dict(in_channels=[128, 192, 256])))
