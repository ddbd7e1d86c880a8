"""DSYM's mean teacher with all of NEU-DET's labels.

No image of NEU-DET is left without a label, and the paper does not say what
its row "semi-supervised" of 100% learnt from. Here the unlabelled images are the
labelled ones again: in phase 2 the student also has to find in a strong view
what the teacher finds in a weak one. That is consistency alone, no new image;
the audit's hidden truth is what the teacher was trained on.

NEU_DET_ROOT=/path/to/NEU-DET python tools/train.py \
    configs/dsym/dsym_yolov9-t_1xb32-50e_neu-det-semi100.py
"""
_base_ = './dsym_yolov9-t_1xb32-60e_neu-det-semi20.py'

# The validation set, dev, is labelled here: no checkpoint may be selected.
hidden = dict(_base_.hidden, split='train')
train_dataloader = dict(dataset=dict(split='train'))
# 102 steps an epoch of either phase: as many as yolov9-t_1xb16-50e_neu-det-train
train_cfg = dict(
    burn_in_epochs=40,
    max_epochs=50,
    unlabeled_dataloader=dict(dataset=dict(split='train')))
custom_hooks = [
    *_base_.custom_hooks[:-1],
    dict(_base_.custom_hooks[-1], dataset=hidden)
]
