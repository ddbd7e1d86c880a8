"""YOLOv9-t on 48 synthetic images: the supervised run of `make demo`.

python tools/train.py configs/yolov9/yolov9-t_1xb16-100e_steel-synth48.py
"""
_base_ = [
    '../_base_/models/yolov9_t.py',
    '../_base_/datasets/steel_synth_128.py',
    '../_base_/schedules/muon_200e.py',
    '../_base_/default_runtime.py',
]

train_dataloader = dict(
    collate_fn=dict(type='yolov5_collate'),
    dataset=dict(pipeline=_base_.train_pipeline))

# 3 steps an epoch
train_cfg = dict(max_epochs=100)
param_scheduler = [
    dict(_base_.param_scheduler[0], end=10), _base_.param_scheduler[1]
]
default_hooks = dict(checkpoint=dict(interval=20))
