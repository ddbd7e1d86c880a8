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

# At 128 px, a third of the pixels of 224, and with flips only: 900 steps are
# too few to learn from mosaics and zooms.
size = dict(scale=(128, 128))
train_pipeline = [
    *_base_.pre_transform,
    dict(_base_.train_pipeline_stage2[2], **size),
    *_base_.color_and_flip,
]
test_pipeline = [
    dict(t, **size) if 'scale' in t else t for t in _base_.test_pipeline
]

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))

train_cfg = dict(max_epochs=max_epochs, val_interval=10)
optim_wrapper = dict(optimizer=dict(lr=2e-3))
param_scheduler = [
    _base_.param_scheduler[0],
    dict(_base_.param_scheduler[1], end=max_epochs),
]
# An average over 100 steps, three epochs.
custom_hooks = [
    _base_.custom_hooks[0],
    dict(_base_.custom_hooks[1], momentum=0.01, gamma=50),
]
