# Student and teacher around YOLOv9-t. A config sets
# semi_train_cfg.ramp_steps.
_base_ = './yolov9_t.py'

model = dict(
    _delete_=True,
    type='DSYMDetector',
    detector=_base_.model,
    semi_train_cfg=dict(
        selector=dict(type='ClassThresholds'),
        consistency=dict(type='ConsistencyLoss')),
    semi_test_cfg=dict(predict_on='teacher'))
