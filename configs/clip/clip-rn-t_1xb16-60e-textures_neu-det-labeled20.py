"""As with zoom, and a part of the images turned into steel without a defect.

NEU_DET_ROOT=/path/to/NEU-DET python tools/train.py \
    configs/clip/clip-rn-t_1xb16-60e-textures_neu-det-labeled20.py
"""
_base_ = './clip-rn-t_1xb16-60e-zoom_neu-det-labeled20.py'

step = len(_base_.pipeline) - len(_base_.flip_and_pack)
train_dataloader = dict(
    dataset=dict(pipeline=[
        *_base_.pipeline[:step],
        dict(type='RandomPhase', prob=0.15),
        *_base_.pipeline[step:],
    ]))
