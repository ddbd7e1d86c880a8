_base_ = './yolov9_t.py'

model = dict(
    backbone=dict(arch='s'),
    neck=dict(arch='s'),
    bbox_head=dict(
        head_module=dict(in_channels=[128, 192, 256]),
        aux_head_module=dict(in_channels=[128, 192, 256])))
