"""Phase 2 at a high learning rate, pseudo-labels of several detectors.

The packaged one and two of configs/studies/mamba.yaml, all of the same 324 images,
label the unlabelled ones before the first step (docs/semi_supervised.md). Fused they
have 69.5 mAP@0.5 on dev, alone 66.1, 64.1 and 64.1.

NEU_DET_ROOT=/path/to/NEU-DET python tools/train.py \
    configs/dsym/dsym_yolov9-t_1xb32-10e-ensemble_neu-det-semi20.py \
    --cfg-options load_from=SUPERVISED_CHECKPOINT
"""
_base_ = './dsym_yolov9-t_1xb32-10e-even_neu-det-semi20.py'

# A mean of several boxes has its place, too.
model = dict(semi_train_cfg=dict(box_weight=1.0))
custom_hooks = [
    *_base_.custom_hooks,
    dict(
        type='EnsembleTeacherHook',
        detectors=[
            'dsym://yolov9-t_neu-det-labeled20',
            'work_dirs/studies/mamba/plain_seed0/epoch_60.pth',
            'work_dirs/studies/mamba/plain_seed2/epoch_60.pth'
        ])
]
