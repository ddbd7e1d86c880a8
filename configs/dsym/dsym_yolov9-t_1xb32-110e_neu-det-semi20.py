"""Both phases in one schedule, as many steps as 200 epochs of the labels alone.

80 x 21 steps of labelled images and 30 x 81 of labelled and unlabelled ones: the
learning rate falls once, through both phases.

NEU_DET_ROOT=/path/to/NEU-DET python tools/train.py \
    configs/dsym/dsym_yolov9-t_1xb32-110e_neu-det-semi20.py
"""
_base_ = './dsym_yolov9-t_1xb32-10e-even_neu-det-semi20.py'

train_cfg = dict(burn_in_epochs=80, max_epochs=110)
optim_wrapper = dict(optimizer=dict(lr=2e-3))
# From scratch: biases have to find their place. The last 810 steps without
# mosaics, a fifth of all.
custom_hooks = [
    dict(type='BiasWarmupHook', start_lr=0.1, num_iters=100),
    *(dict(hook, num_last_epochs=10) if hook['type'] == 'CloseMosaicHook' else
      hook for hook in _base_.custom_hooks)
]
default_hooks = dict(checkpoint=dict(interval=5))
