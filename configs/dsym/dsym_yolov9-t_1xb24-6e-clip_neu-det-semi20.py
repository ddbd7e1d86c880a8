"""Phase 2 alone, its pseudo-labels judged by the adapted CLIP of the package.

DSYM_CLIP names another one, such as a folder that training configs/clip/ left.

NEU_DET_ROOT=... python tools/train.py \
    configs/dsym/dsym_yolov9-t_1xb24-6e-clip_neu-det-semi20.py \
    --cfg-options load_from=SUPERVISED_CHECKPOINT
"""
_base_ = './dsym_yolov9-t_1xb24-6e_neu-det-semi20.py'

custom_hooks = [
    *_base_.custom_hooks,
    dict(
        type='CLIPFilterHook',
        clip='{{$DSYM_CLIP:dsym://clip-rn-t_neu-det-labeled20}}',
        action='rescore',
        weight=0.5),
]
