"""Phase 2 alone: a supervised YOLOv9-t learns from 1,296 unlabelled images.

NEU_DET_ROOT=/path/to/NEU-DET python tools/train.py \
    configs/dsym/dsym_yolov9-t_1xb24-6e_neu-det-semi20.py \
    --cfg-options load_from=SUPERVISED_CHECKPOINT
"""
_base_ = ['../_base_/models/dsym_yolov9_t.py', '../_base_/neu_det_semi.py']

model = dict(
    # as the supervised config's
    detector=dict(test_cfg=dict(nms=dict(_delete_=True, iou_threshold=0.6))),
    # What did no harm on NEU-DET: full targets, no consistency
    # (configs/dsym/README.md).
    semi_train_cfg=dict(
        unsup_weight=1.0,
        ramp_steps=81,
        consistency=None,
        selector=dict(certain=1.0)))

# 8 labelled and 16 unlabelled images a step, both whole, as the checkpoint saw
# them last. Its average spans 200 steps, the teacher 500.
train_dataloader = dict(
    batch_size=8, dataset=dict(pipeline=_base_.labeled_pipeline_stage2))
train_cfg = dict(
    burn_in_epochs=0, max_epochs=6, ema=dict(type='ConstantEMA', alpha=0.998))
optim_wrapper = dict(optimizer=dict(lr=1e-4))
# The biases have long found their place, and there is no mosaic to close.
custom_hooks = [
    hook for hook in _base_.custom_hooks
    if hook['type'] not in ('BiasWarmupHook', 'CloseMosaicHook')
]
default_hooks = dict(checkpoint=dict(interval=1))
