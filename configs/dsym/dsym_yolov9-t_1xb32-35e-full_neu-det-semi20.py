"""The whole method: MambaHead, mean teacher, synthetic images, CLIP's filter.

DSYM_PAINTER is the folder that training configs/diffusion/ left; DSYM_CLIP
names another CLIP than the package's, for the filter and the gate of the
synthetic images. configs/studies/restart.yaml leaves one part out at a time,
in phase 2.

NEU_DET_ROOT=/path/to/NEU-DET python tools/train.py \
    configs/dsym/dsym_yolov9-t_1xb32-35e-full_neu-det-semi20.py
"""
_base_ = './dsym_yolov9-t_1xb32-35e-diffusion_neu-det-semi20.py'

custom_hooks = [
    *_base_.custom_hooks,
    # as in dsym_yolov9-t_1xb24-6e-clip_neu-det-semi20.py
    dict(
        type='CLIPFilterHook',
        clip='{{$DSYM_CLIP:dsym://clip-rn-t_neu-det-labeled20}}',
        action='rescore',
        mode='cosine',
        weight=0.3),
]
