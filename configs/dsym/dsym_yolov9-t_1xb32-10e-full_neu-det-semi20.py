"""Everything in phase 2: MambaHead, mean teacher, CLIP, synthetic images.

NEU_DET_ROOT=/path/to/NEU-DET python tools/train.py \
    configs/dsym/dsym_yolov9-t_1xb32-10e-full_neu-det-semi20.py \
    --cfg-options load_from=SUPERVISED_CHECKPOINT
"""
_base_ = './dsym_yolov9-t_1xb32-10e-diffusion_neu-det-semi20.py'

# as in dsym_yolov9-t_1xb32-10e-clip_neu-det-semi20.py
custom_hooks = [
    *_base_.custom_hooks,
    dict(type='CLIPFilterHook', mode='cosine'),
]
