"""Phase 2 alone, at a high learning rate, on 40% of NEU-DET's labels.

NEU_DET_ROOT=/path/to/NEU-DET python tools/train.py \
    configs/dsym/dsym_yolov9-t_1xb32-13e_neu-det-semi40.py \
    --cfg-options load_from=SUPERVISED_CHECKPOINT
"""
_base_ = './dsym_yolov9-t_1xb32-10e_neu-det-semi20.py'

# The validation set, dev, is labelled here: no checkpoint may be selected.
hidden = dict(_base_.hidden, split='unlabeled_60')
train_dataloader = dict(dataset=dict(split='labeled_40'))
# as many steps as with 20%, 13 x 61, the last 4 x 61 without mosaics
train_cfg = dict(
    max_epochs=13,
    unlabeled_dataloader=dict(dataset=dict(split='unlabeled_60')))
custom_hooks = [
    *_base_.custom_hooks[:-2],
    dict(_base_.custom_hooks[-2], num_last_epochs=4),
    dict(_base_.custom_hooks[-1], dataset=hidden)
]
