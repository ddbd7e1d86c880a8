"""Heads alone, from scratch on the frozen features of a trained YOLOv9-t.

What a head is worth costs a third of a whole training so: for comparisons of
heads (configs/studies/scans.yaml), not for use.

NEU_DET_ROOT=/path/to/NEU-DET python tools/study.py run configs/studies/scans.yaml
"""
_base_ = './yolov9-t-mamba_1xb16-200e_neu-det-labeled20.py'

trunk = 'work_dirs/studies/box_start/start-2.5_seed0/epoch_60.pth'

model = dict(
    backbone=dict(
        with_aux=False,
        frozen_stages=4,
        init_cfg=dict(
            type='Pretrained', checkpoint=trunk, prefix='backbone.')),
    neck=dict(
        with_aux=False,
        freeze_all=True,
        init_cfg=dict(type='Pretrained', checkpoint=trunk, prefix='neck.')),
    bbox_head=dict(
        aux_head_module=None,
        # what the study changes, at its defaults
        head_module=dict(
            init_distance=2.5,
            scan='strided',
            scan_levels=[0, 1, 2],
            scan_place='branches',
            with_confidence=False,
            mamba=dict(expand=0.5, zero_init=True))))

train_cfg = dict(max_epochs=20)
optim_wrapper = dict(
    paramwise_cfg=dict(
        custom_keys=dict(
            A_log=dict(lr_mult=1.0),
            dt_proj=dict(lr_mult=1.0),
            x_proj=dict(lr_mult=1.0))))
