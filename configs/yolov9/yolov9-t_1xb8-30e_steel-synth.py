"""YOLOv9-t on synthetic steel at 128 px: minutes on two cores (`make demo`).

python tools/demo.py configs/yolov9/yolov9-t_1xb8-30e_steel-synth.py
"""
_base_ = [
    '../_base_/models/yolov9_t.py',
    '../_base_/datasets/steel_synth.py',
    '../_base_/schedules/adamw_75e.py',
    '../_base_/default_runtime.py',
]

max_epochs = 30
close_mosaic_epochs = 8

# The base pipelines at 128 px: a third of the pixels of 224.
size = dict(img_scale=(128, 128), scale=(128, 128), border=(-64, -64))
train_pipeline, train_pipeline_stage2, test_pipeline = ([
    dict(t, **{k: size[k]
               for k in size if k in t}) for t in pipeline
] for pipeline in (_base_.train_pipeline, _base_.train_pipeline_stage2,
                   _base_.test_pipeline))

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))

train_cfg = dict(max_epochs=max_epochs, val_interval=10)
param_scheduler = [
    _base_.param_scheduler[0],
    dict(_base_.param_scheduler[1], end=max_epochs),
]
custom_hooks = [
    *_base_.custom_hooks,
    dict(
        type='mmdet.PipelineSwitchHook',
        switch_epoch=max_epochs - close_mosaic_epochs,
        switch_pipeline=train_pipeline_stage2),
]
