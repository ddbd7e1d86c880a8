"""DSYM on 48 labelled and 192 unlabelled synthetic images: `make demo`.

python tools/train.py configs/dsym/dsym_yolov9-t_1xb32-62e_steel-synth48.py
"""
_base_ = [
    '../_base_/models/dsym_yolov9_t_mamba.py',
    '../_base_/datasets/steel_synth_128.py',
    '../_base_/schedules/mean_teacher_60e.py',
    '../_base_/default_runtime.py',
]

model = dict(semi_train_cfg=dict(ramp_steps=48))

# 150 steps of phase 1, 144 of phase 2
train_cfg = dict(
    burn_in_epochs=50,
    max_epochs=62,
    unlabeled_dataloader=_base_.unlabeled_dataloader,
    burn_in_ema=dict(type='WarmupEMA', alpha=0.98),
    ema=dict(_delete_=True, type='ConstantEMA', alpha=0.98))
param_scheduler = [
    dict(_base_.param_scheduler[0], end=30), _base_.param_scheduler[1]
]
custom_hooks = [
    *_base_.custom_hooks,
    dict(type='PseudoLabelAuditHook', dataset=_base_.hidden),
]
default_hooks = dict(
    timer=dict(type='PhaseTimerHook'), checkpoint=dict(interval=20))
