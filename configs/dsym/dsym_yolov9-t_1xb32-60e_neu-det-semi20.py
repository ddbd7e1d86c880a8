"""DSYM's mean teacher on 20% of NEU-DET's labels and 80% without, at 224 px.

NEU_DET_ROOT=... python tools/train.py \
    configs/dsym/dsym_yolov9-t_1xb32-60e_neu-det-semi20.py
"""
_base_ = ['../_base_/models/yolov9_t_mamba.py', '../_base_/neu_det_semi.py']

detector = dict(
    _base_.model,
    # as the supervised config's
    test_cfg=dict(_base_.model.test_cfg, nms=dict(iou_threshold=0.6)))
model = dict(
    _delete_=True,
    type='DSYMDetector',
    detector=detector,
    semi_train_cfg=dict(
        unsup_weight=1.0,
        ramp_steps=200,
        selector=dict(type='ClassThresholds'),
        consistency=dict(type='ConsistencyLoss')),
    semi_test_cfg=dict(predict_on='teacher'))
