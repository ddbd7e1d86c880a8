"""The limit of phase 2: the unlabelled images with their true labels, 40%.

No result, and no semi-supervision: what the loop would reach with a teacher
that makes no mistake.

NEU_DET_ROOT=/path/to/NEU-DET python tools/train.py \
    configs/dsym/dsym_yolov9-t_1xb32-13e-true_neu-det-semi40.py \
    --cfg-options load_from=SUPERVISED_CHECKPOINT
"""
_base_ = './dsym_yolov9-t_1xb32-13e-hard_neu-det-semi40.py'

custom_hooks = [
    *_base_.custom_hooks,
    dict(type='TrueLabelsHook', dataset=_base_.hidden),
]
