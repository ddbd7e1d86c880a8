_base_ = './yolov9_t.py'

model = dict(
    backbone=dict(arch='e'),
    neck=dict(arch='e'),
    bbox_head=dict(
        head_module=dict(in_channels=[256, 512, 512]),
        aux_head_module=dict(in_channels=[256, 512, 512])))
