"""DSYM on 48 labelled and 192 unlabelled synthetic images: `make demo`.

DSYM_DEMO is where the runs of configs/studies/demo.yaml are: a supervised
detector, a CLIP and a painter of the same 48 images.

python tools/demo.py
"""
_base_ = [
    '../_base_/models/dsym_yolov9_t_mamba.py',
    '../_base_/datasets/steel_synth_128.py',
    '../_base_/schedules/mean_teacher_60e.py',
    '../_base_/default_runtime.py',
]

runs = '{{$DSYM_DEMO:work_dirs/demo}}'
clip = f'{runs}/clip_seed0/clip'

train_dataloader = dict(
    batch_size=8,
    dataset=dict(
        _delete_=True,
        type='DiffusionAugment',
        dataset=_base_.train_dataloader.dataset,
        ratio=1.0,
        cache_dir=f'{runs}/synthetic',
        layout=dict(background='keep'),
        painter=dict(
            type='DiffusionPainter',
            model=f'{runs}/painter_seed0/diffusion',
            num_steps=10,
            strength=0.4),
        # what a detector of 48 images is sure of is little
        gate=dict(
            detector=dict(
                config='{{fileDirname}}/../yolov9/yolov9-t_1xb8-50e_steel-'
                'synth48.py',
                checkpoint=f'{runs}/supervised_seed0/epoch_50.pth'),
            min_iou=0.3,
            min_score=0.1,
            clip=clip,
            min_clip=0.1)))

# as the supervised run
start = dict(init_distance=2.0)
model = dict(
    detector=dict(bbox_head=dict(head_module=start, aux_head_module=start)),
    semi_train_cfg=dict(ramp_steps=48))

# 17 x 12 steps of phase 1, 4 x 24 of phase 2: the 300 of the supervised run
train_cfg = dict(
    burn_in_epochs=17,
    max_epochs=21,
    unlabeled_dataloader=dict(_base_.unlabeled_dataloader, batch_size=8),
    burn_in_ema=dict(type='WarmupEMA', alpha=0.98),
    ema=dict(_delete_=True, type='ConstantEMA', alpha=0.98))
param_scheduler = [
    dict(_base_.param_scheduler[0], end=30), _base_.param_scheduler[1]
]
custom_hooks = [
    *_base_.custom_hooks,
    dict(type='PseudoLabelAuditHook', dataset=_base_.hidden),
    dict(
        type='CLIPFilterHook', clip=clip, action='rescore', mode='cosine',
        weight=0.3),
]
default_hooks = dict(
    timer=dict(type='PhaseTimerHook'), checkpoint=dict(interval=7))
