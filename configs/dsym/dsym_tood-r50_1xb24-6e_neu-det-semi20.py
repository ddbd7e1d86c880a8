"""Phase 2 with a detector of mmdet: TOOD-R50 as student and teacher.

Its supervised run is configs/baselines/tood-r50_1xb16-200e_neu-det-labeled20.py. Of
another one-stage detector put its config's model in place of `detector`.

NEU_DET_ROOT=/path/to/NEU-DET python tools/train.py \
    configs/dsym/dsym_tood-r50_1xb24-6e_neu-det-semi20.py \
    --cfg-options load_from=SUPERVISED_CHECKPOINT
"""
_base_ = '../_base_/neu_det_semi.py'

from mmengine.hub import get_config  # noqa: E402  mmengine wants _base_ first

default_scope = 'mmdet'
detector = get_config('mmdet::tood/tood_r50_fpn_1x_coco.py').model
detector.backbone.update(init_cfg=None, frozen_stages=-1, norm_eval=False)
detector.bbox_head.num_classes = 6
# Epochs with ATSS's assigner in place of its own: the supervised run had them.
detector.train_cfg.initial_epoch = 0
model = dict(
    type='DSYMDetector',
    detector=detector,
    semi_train_cfg=dict(
        unsup_weight=1.0,
        ramp_steps=81,
        # Heads of mmdet know no weights of boxes.
        selector=dict(type='ScoreThreshold', score_thr=0.5)),
    semi_test_cfg=dict(predict_on='teacher'))

# 8 labelled and 16 unlabelled images a step, 486 steps.
train_dataloader = dict(
    batch_size=8, dataset=dict(pipeline=_base_.labeled_pipeline_stage2))
train_cfg = dict(
    burn_in_epochs=0, max_epochs=6, ema=dict(type='ConstantEMA', alpha=0.998))
# mmcv's deformable convolution knows no bfloat16.
optim_wrapper = dict(enabled=False, optimizer=dict(lr=1e-4))
# YOLOv9's start of the biases is not this detector's, and no mosaic to close.
custom_hooks = [
    hook for hook in _base_.custom_hooks
    if hook['type'] not in ('BiasWarmupHook', 'CloseMosaicHook')
]
default_hooks = dict(checkpoint=dict(interval=1))
