"""DSYM's mean teacher on 40% of NEU-DET's labels and 60% without, at 224 px.

NEU_DET_ROOT=/path/to/NEU-DET python tools/train.py \
    configs/dsym/dsym_yolov9-t_1xb32-38e_neu-det-semi40.py
"""
_base_ = './dsym_yolov9-t_1xb32-60e_neu-det-semi20.py'

# The validation set, dev, is labelled here: no checkpoint may be selected.
hidden = dict(_base_.hidden, split='unlabeled_60')
train_dataloader = dict(dataset=dict(split='labeled_40'))
# as many steps of both phases as with 20%: 25 x 41 and 13 x 61
train_cfg = dict(
    burn_in_epochs=25,
    max_epochs=38,
    unlabeled_dataloader=dict(dataset=dict(split='unlabeled_60')))
custom_hooks = [
    *_base_.custom_hooks[:-1],
    dict(_base_.custom_hooks[-1], dataset=hidden)
]
