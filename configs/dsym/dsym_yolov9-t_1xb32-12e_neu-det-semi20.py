"""Phase 2 alone, at a high learning rate: a supervised MambaHead goes on.

NEU_DET_ROOT=... python tools/train.py \
    configs/dsym/dsym_yolov9-t_1xb32-12e_neu-det-semi20.py \
    --cfg-options load_from=SUPERVISED_CHECKPOINT
"""
_base_ = './dsym_yolov9-t_1xb32-60e_neu-det-semi20.py'

model = dict(semi_train_cfg=dict(ramp_steps=162))

# 972 steps of 16 labelled and 16 unlabelled images, the last 3 of 12 epochs
# without mosaics. The rate is half of that from scratch: enough to leave the
# checkpoint, while the teacher, an average over 500 steps, does so slowly.
train_cfg = dict(
    burn_in_epochs=0,
    max_epochs=12,
    ema=dict(_delete_=True, type='ConstantEMA', alpha=0.998))
optim_wrapper = dict(optimizer=dict(lr=1e-3))
# The biases have found their place.
custom_hooks = [
    hook for hook in _base_.custom_hooks if hook['type'] != 'BiasWarmupHook'
]
default_hooks = dict(checkpoint=dict(interval=1))
