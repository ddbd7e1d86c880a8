"""Phase 2 at a high learning rate, pseudo-labels of several detectors.

Those of configs/studies/mamba.yaml and of configs/studies/diffusion.yaml label the
unlabelled images before the first step (docs/semi_supervised.md).

NEU_DET_ROOT=/path/to/NEU-DET python tools/train.py \
    configs/dsym/dsym_yolov9-t_1xb32-10e-ensemble_neu-det-semi20.py \
    --cfg-options load_from=SUPERVISED_CHECKPOINT
"""
_base_ = './dsym_yolov9-t_1xb32-10e-even_neu-det-semi20.py'

# A mean of five boxes has its place, too.
model = dict(semi_train_cfg=dict(box_weight=1.0))
custom_hooks = [
    *_base_.custom_hooks,
    dict(
        type='EnsembleTeacherHook',
        detectors=[
            'work_dirs/studies/mamba/mamba_seed1/epoch_60.pth',
            'work_dirs/studies/mamba/plain_seed0/epoch_60.pth',
            'work_dirs/studies/mamba/plain_seed2/epoch_60.pth',
            'work_dirs/studies/diffusion/dealt-0.5_seed0/epoch_41.pth',
            'work_dirs/studies/diffusion/dealt-0.5_seed2/epoch_41.pth'
        ])
]
