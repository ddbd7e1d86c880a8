"""DSYM's mean teacher on 20% of NEU-DET's labels and 80% without, at 224 px.

NEU_DET_ROOT=/path/to/NEU-DET python tools/train.py \
    configs/dsym/dsym_yolov9-t_1xb32-60e_neu-det-semi20.py
"""
_base_ = [
    '../_base_/models/dsym_yolov9_t_mamba.py', '../_base_/neu_det_semi.py'
]

detector = dict(
    _base_.model.detector,
    # as the supervised config's
    test_cfg=dict(
        _base_.model.detector.test_cfg, nms=dict(iou_threshold=0.6)))
model = dict(
    detector=dict(detector, _delete_=True),
    semi_train_cfg=dict(unsup_weight=1.0, ramp_steps=200))
