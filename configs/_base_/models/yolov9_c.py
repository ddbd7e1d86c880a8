_base_ = './yolov9_t.py'

model = dict(
    backbone=dict(arch='c'),
    neck=dict(arch='c'),
    bbox_head=dict(
        head_module=dict(in_channels=[256, 512, 512]),
        aux_head_module=dict(in_channels=[512, 512, 512])))
