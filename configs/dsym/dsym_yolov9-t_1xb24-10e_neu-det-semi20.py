"""Phase 2 alone: a supervised YOLOv9-t learns from 1,296 unlabelled images.

NEU_DET_ROOT=... python tools/train.py \
    configs/dsym/dsym_yolov9-t_1xb24-10e_neu-det-semi20.py \
    --cfg-options load_from=SUPERVISED_CHECKPOINT
"""
_base_ = ['../_base_/models/yolov9_t.py', '../_base_/neu_det_semi.py']

model = dict(
    _delete_=True,
    type='DSYMDetector',
    detector=dict(
        _base_.model,
        # as the supervised config's
        test_cfg=dict(_base_.model.test_cfg, nms=dict(iou_threshold=0.6))),
    semi_train_cfg=dict(
        unsup_weight=1.0,
        ramp_steps=81,
        selector=dict(type='TwoThresholds', low=0.3, high=0.6),
        consistency=dict(type='ConsistencyLoss')),
    semi_test_cfg=dict(predict_on='teacher'))

# 8 labelled and 16 unlabelled images a step.
train_dataloader = dict(batch_size=8)
# The checkpoint is an average over 200 steps; so is the teacher.
train_cfg = dict(
    burn_in_epochs=0, max_epochs=10, ema=dict(type='ConstantEMA', alpha=0.995))
optim_wrapper = dict(optimizer=dict(lr=5e-4))
# The biases have long found their place.
custom_hooks = [
    hook for hook in _base_.custom_hooks if hook['type'] != 'BiasWarmupHook'
]
default_hooks = dict(checkpoint=dict(interval=1))
