"""YOLOv9-t on COCO with the published schedule. Not run by this project."""
_base_ = [
    '../_base_/models/yolov9_t.py',
    '../_base_/datasets/coco_640.py',
    '../_base_/default_runtime.py',
    '../_base_/schedules/sgd_500e.py',
]

model = dict(bbox_head=dict(head_module=dict(num_classes=80)))
default_hooks = dict(
    param_scheduler=dict(
        _delete_=True,
        type='mmyolo.YOLOv5ParamSchedulerHook',
        scheduler_type='linear',
        lr_factor=0.01,
        max_epochs=_base_.max_epochs))

custom_hooks = [
    *_base_.custom_hooks,
    dict(
        type='CloseMosaicHook',
        num_last_epochs=15,
        switch_pipeline=_base_.train_pipeline_stage2),
]
