"""The small CLIP of `make demo`: grades boxes at 128 px, from 48 images.

python tools/train.py configs/clip/clip-rn-t_1xb16-30e_steel-synth48.py
"""
_base_ = [
    '../_base_/models/clip_rn_t.py',
    '../_base_/datasets/steel_synth_128.py',
    '../_base_/schedules/muon_200e.py',
    '../_base_/default_runtime.py',
]

# never smaller: a border would be learnt as what 'no defect' looks like
pipeline = [
    dict(step, scaling_ratio_range=(1.0, 1.6))
    if 'scaling_ratio_range' in step else step
    for step in _base_.train_pipeline
]
train_dataloader = dict(dataset=dict(pipeline=pipeline))
test_evaluator = dict(type='RegionGradeMetric', _delete_=True)
val_evaluator = test_evaluator

model = dict(regions=dict(image_size=128))

# 3 steps an epoch
train_cfg = dict(max_epochs=30)
param_scheduler = [
    dict(_base_.param_scheduler[0], end=5), _base_.param_scheduler[1]
]
optim_wrapper = dict(clip_grad=dict(max_norm=20.0))
custom_hooks = [
    hook for hook in _base_.custom_hooks if hook['type'] != 'BiasWarmupHook'
] + [dict(type='ExportCLIPHook')]
default_hooks = dict(checkpoint=dict(interval=10))
