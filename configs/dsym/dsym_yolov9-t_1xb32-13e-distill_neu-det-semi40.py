"""Phase 2 at a high learning rate, all that several detectors say as soft targets, 40%.

The packaged one, of half of these labels, and two starts of
configs/studies/restart40.yaml label the unlabelled images before the first step
(docs/semi_supervised.md).

NEU_DET_ROOT=/path/to/NEU-DET python tools/train.py \
    configs/dsym/dsym_yolov9-t_1xb32-13e-distill_neu-det-semi40.py \
    --cfg-options load_from=SUPERVISED_CHECKPOINT
"""
_base_ = './dsym_yolov9-t_1xb32-13e-even_neu-det-semi40.py'

# As with 20%
model = dict(
    semi_train_cfg=dict(
        classes=None,
        box_weight=1.0,
        selector=dict(
            _delete_=True, type='TwoThresholds', low=0.1, high=1.0)))
custom_hooks = [
    *_base_.custom_hooks,
    dict(
        type='EnsembleTeacherHook',
        detectors=[
            'dsym://yolov9-t_neu-det-labeled20',
            'work_dirs/studies/restart40/start_seed1/epoch_40.pth',
            'work_dirs/studies/restart40/start_seed2/epoch_40.pth'
        ])
]
