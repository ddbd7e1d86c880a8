"""DSYM's mean teacher on synthetic steel: 48 labelled, 192 unlabelled images.

python tools/train.py configs/dsym/dsym_yolov9-t_1xb32-60e_steel-synth-semi.py
"""
_base_ = [
    '../_base_/models/yolov9_t_mamba.py',
    '../_base_/datasets/semi_224.py',
    '../_base_/schedules/mean_teacher_60e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    _delete_=True,
    type='DSYMDetector',
    detector=_base_.model,
    semi_train_cfg=dict(
        ramp_steps=50,
        selector=dict(type='ClassThresholds'),
        consistency=dict(type='ConsistencyLoss')),
    semi_test_cfg=dict(predict_on='teacher'))

synth = dict(
    type='SteelSynthDataset', data_root='{{$DSYM_DATA:data}}/steel_synth')
unlabeled = dict(synth, num_images=192, seed=3)

train_dataloader = dict(dataset=dict(synth, num_images=48, seed=0))
train_cfg = dict(
    unlabeled_dataloader=dict(
        _base_.unlabeled_dataloader,
        # its pipeline loads no annotations
        dataset=dict(unlabeled, pipeline=_base_.unlabeled_pipeline)))
val_dataloader = dict(dataset=dict(synth, num_images=60, seed=1))
test_dataloader = dict(dataset=dict(synth, num_images=60, seed=2))

custom_hooks = [
    *_base_.custom_hooks,
    dict(
        type='CloseMosaicHook',
        num_last_epochs=3,
        switch_pipeline=_base_.labeled_pipeline_stage2),
    dict(type='PseudoLabelAuditHook', dataset=unlabeled),
]

default_hooks = dict(timer=dict(type='PhaseTimerHook'))
