# Semi-supervised training on NEU-DET at 224 px: labeled_20 and, without their
# labels, unlabeled_80. Epochs of phase 1 have 21 steps, of phase 2 they have 81.
_base_ = [
    './datasets/semi_224.py',
    './schedules/mean_teacher_60e.py',
    './default_runtime.py',
]

data_root = '{{$NEU_DET_ROOT:data/NEU-DET}}'
dataset = dict(type='NEUDETDataset', data_root=data_root)
hidden = dict(dataset, split='unlabeled_80')

train_dataloader = dict(dataset=dict(dataset, split='labeled_20'))
train_cfg = dict(
    unlabeled_dataloader=dict(
        _base_.unlabeled_dataloader,
        dataset=dict(
            hidden, unlabeled=True, pipeline=_base_.unlabeled_pipeline)))
val_dataloader = dict(dataset=dict(dataset, split='dev'))
test_dataloader = dict(dataset=dict(dataset, split='paper_test'))

custom_hooks = [
    *_base_.custom_hooks,
    dict(
        type='CloseMosaicHook',
        num_last_epochs=3,
        switch_pipeline=_base_.labeled_pipeline_stage2),
    dict(type='PseudoLabelAuditHook', dataset=hidden),
]

default_hooks = dict(timer=dict(type='PhaseTimerHook'))
