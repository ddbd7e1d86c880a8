"""Phase 2 alone, its pseudo-labels judged by the CLIP of configs/clip/.

NEU_DET_ROOT=... DSYM_CLIP=work_dirs/clip/clip python tools/train.py \
    configs/dsym/dsym_yolov9-t_1xb24-6e-clip_neu-det-semi20.py \
    --cfg-options load_from=SUPERVISED_CHECKPOINT
"""
_base_ = './dsym_yolov9-t_1xb24-6e_neu-det-semi20.py'

custom_hooks = [
    *_base_.custom_hooks,
    dict(
        type='CLIPFilterHook',
        clip='{{$DSYM_CLIP:work_dirs/clip/clip}}',
        action='rescore',
        weight=0.5),
]
