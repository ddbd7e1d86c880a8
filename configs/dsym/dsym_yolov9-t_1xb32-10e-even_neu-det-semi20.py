"""Phase 2 at a high learning rate, pseudo-labels as full as labels.

A soft target is the teacher's score times the IoU of the student's box, so less
than what the teacher says, and consistency compares with interpolated, so lower
peaks: with both scores fall from round to round (configs/dsym/README.md).

NEU_DET_ROOT=/path/to/NEU-DET python tools/train.py \
    configs/dsym/dsym_yolov9-t_1xb32-10e-even_neu-det-semi20.py \
    --cfg-options load_from=SUPERVISED_CHECKPOINT
"""
_base_ = './dsym_yolov9-t_1xb32-10e-classes_neu-det-semi20.py'

model = dict(
    semi_train_cfg=dict(consistency=None, selector=dict(certain=1.0)))
