# What every mean teacher shares: 224 px pipelines, both phases of 60 epochs,
# mosaic off for the last three, and hooks. A config adds the data, and
# PseudoLabelAuditHook with those of the unlabelled images.
_base_ = [
    './datasets/semi_224.py',
    './schedules/mean_teacher_60e.py',
    './default_runtime.py',
]

train_cfg = dict(unlabeled_dataloader=_base_.unlabeled_dataloader)

custom_hooks = [
    *_base_.custom_hooks,
    dict(
        type='CloseMosaicHook',
        num_last_epochs=3,
        switch_pipeline=_base_.labeled_pipeline_stage2),
]

default_hooks = dict(timer=dict(type='PhaseTimerHook'))
