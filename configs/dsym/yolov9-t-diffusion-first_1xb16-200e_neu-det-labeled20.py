"""YOLOv9-t on 20% of NEU-DET's labels, synthetic images before real ones.

As many synthetic images as real ones until the last two fifths of the epochs,
which have real images alone. DSYM_PAINTER, DSYM_DETECTOR and DSYM_CLIP as in
the config that it extends.

NEU_DET_ROOT=/path/to/NEU-DET python tools/train.py \
    configs/dsym/yolov9-t-diffusion-first_1xb16-200e_neu-det-labeled20.py
"""
_base_ = './yolov9-t-diffusion_1xb16-200e_neu-det-labeled20.py'

custom_hooks = [
    *_base_.custom_hooks,
    dict(type='CloseSyntheticHook', num_last_epochs=0.4),
]
