"""The same with boxes that start at 40, 80 and 160 px (docs/training.md).

NEU_DET_ROOT=/path/to/NEU-DET python tools/train.py \
    configs/yolov9/yolov9-t-start2.5_1xb16-200e_neu-det-labeled20.py
"""
_base_ = './yolov9-t_1xb16-200e_neu-det-labeled20.py'

model = dict(
    bbox_head=dict(
        head_module=dict(init_distance=2.5),
        aux_head_module=dict(init_distance=2.5)))
