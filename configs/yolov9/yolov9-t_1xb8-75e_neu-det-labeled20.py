"""YOLOv9-t from scratch on 20% of NEU-DET's labels (324 images), at 224 px.

NEU_DET_ROOT=... python tools/train.py \
    configs/yolov9/yolov9-t_1xb8-75e_neu-det-labeled20.py
"""
_base_ = [
    '../_base_/models/yolov9_t.py',
    '../_base_/datasets/neu_det.py',
    '../_base_/schedules/adamw_75e.py',
    '../_base_/default_runtime.py',
]

custom_hooks = [
    *_base_.custom_hooks,
    dict(
        type='mmdet.PipelineSwitchHook',
        switch_epoch=_base_.max_epochs - _base_.close_mosaic_epochs,
        switch_pipeline=_base_.train_pipeline_stage2),
]
