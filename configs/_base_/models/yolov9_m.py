_base_ = './yolov9_t.py'

model = dict(
    backbone=dict(arch='m'),
    neck=dict(arch='m'),
    bbox_head=dict(
        head_module=dict(in_channels=[240, 360, 480]),
        aux_head_module=dict(in_channels=[240, 360, 480])))
