"""Phase 2 alone: a supervised YOLOv9-t learns from 972 unlabelled images.

Its checkpoint is that of yolov9-t_1xb16-100e_neu-det-labeled40.py.

NEU_DET_ROOT=/path/to/NEU-DET python tools/train.py \
    configs/dsym/dsym_yolov9-t_1xb24-8e_neu-det-semi40.py \
    --cfg-options load_from=SUPERVISED_CHECKPOINT
"""
_base_ = './dsym_yolov9-t_1xb24-6e_neu-det-semi20.py'

# The validation set, dev, is labelled here: no checkpoint may be selected.
hidden = dict(_base_.hidden, split='unlabeled_60')
train_dataloader = dict(dataset=dict(split='labeled_40'))
# as many steps as with 20%: 8 x 61
train_cfg = dict(
    max_epochs=8,
    unlabeled_dataloader=dict(dataset=dict(split='unlabeled_60')))
custom_hooks = [
    *_base_.custom_hooks[:-1],
    dict(_base_.custom_hooks[-1], dataset=hidden)
]
