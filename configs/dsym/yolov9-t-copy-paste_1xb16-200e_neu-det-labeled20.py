"""The same with real defects pasted into the same places: the yardstick.

NEU_DET_ROOT=/path/to/NEU-DET python tools/train.py \
    configs/dsym/yolov9-t-copy-paste_1xb16-200e_neu-det-labeled20.py
"""
_base_ = './yolov9-t-diffusion_1xb16-200e_neu-det-labeled20.py'

train_dataloader = dict(
    dataset=dict(
        painter=dict(_delete_=True, type='CopyPastePainter'), gate=None))
