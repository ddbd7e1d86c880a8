"""YOLOv9-t with the official code's recipe for few images, as its peer.

AdamW 1e-3, 16 images a step, 120 epochs, images as they are with brightness
jitter, mosaic off for the last 20. `trainer: official` of tools/study.py trains
the official code on this plan.
"""
_base_ = './yolov9-t_1xb16-200e_neu-det-labeled20.py'

model = dict(test_cfg=dict(nms=dict(iou_threshold=0.7)))

# without CenterBrightness
pre_transform = _base_.pre_transform[:2]
jitter = [dict(type='mmyolo.YOLOv5HSVRandomAug'), *_base_.flip_and_pack]
mosaic, affine = _base_.train_pipeline[3:5]
train_pipeline = [
    *pre_transform,
    dict(mosaic, pre_transform=pre_transform), affine, *jitter
]
train_pipeline_stage2 = [
    *pre_transform, *_base_.train_pipeline_stage2[3:5], *jitter
]
test_pipeline = [_base_.test_pipeline[0], *_base_.test_pipeline[2:]]

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))

train_cfg = dict(max_epochs=120)
optim_wrapper = dict(
    optimizer=dict(
        _delete_=True,
        type='AdamW',
        lr=1e-3,
        betas=(0.937, 0.999),
        weight_decay=0.01,
        fused=True))
param_scheduler = [
    _base_.param_scheduler[0],
    dict(_base_.param_scheduler[1], end_factor=0.05),
]
custom_hooks = [
    *_base_.custom_hooks[:-1],
    dict(
        type='CloseMosaicHook',
        num_last_epochs=20,
        switch_pipeline=train_pipeline_stage2),
]
