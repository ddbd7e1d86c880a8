"""Phase 2 alone, its pseudo-labels judged by the adapted CLIP of the package.

DSYM_CLIP names another one, such as a folder that training configs/clip/ left.
Mode and weight are the least harmful of those measured on boxes (configs/clip/README.md):
precision at equal recall 64.3 without CLIP and 64.8 with the packaged one, 67.4
and 67.9 with that of configs/clip/ without zoom. No training has been run with
them: the recorded one (configs/dsym/results/semi/earlier/semi20-clip_seed0.json) had
mode='softmax' and weight=0.5.

NEU_DET_ROOT=/path/to/NEU-DET python tools/train.py \
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
        mode='cosine',
        weight=0.3),
]
