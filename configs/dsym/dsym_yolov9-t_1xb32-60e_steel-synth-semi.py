"""DSYM's mean teacher on synthetic steel: 48 labelled, 192 unlabelled images.

python tools/train.py configs/dsym/dsym_yolov9-t_1xb32-60e_steel-synth-semi.py
"""
_base_ = [
    '../_base_/models/dsym_yolov9_t_mamba.py', '../_base_/semi_60e.py'
]

model = dict(semi_train_cfg=dict(ramp_steps=50))

synth = dict(
    type='SteelSynthDataset', data_root='{{$DSYM_DATA:data}}/steel_synth')
unlabeled = dict(synth, num_images=192, seed=3)

train_dataloader = dict(dataset=dict(synth, num_images=48, seed=0))
# its pipeline loads no annotations; every epoch of phase 2 is validated
train_cfg = dict(
    unlabeled_dataloader=dict(dataset=unlabeled), val_begin=51, val_interval=1)
val_dataloader = dict(dataset=dict(synth, num_images=60, seed=1))
test_dataloader = dict(dataset=dict(synth, num_images=60, seed=2))

# on images that are neither trained on nor tested
default_hooks = dict(checkpoint=dict(save_best='teacher/defect/mAP_50'))
custom_hooks = [
    *_base_.custom_hooks,
    dict(type='PseudoLabelAuditHook', dataset=unlabeled),
]
