# YOLOv9's published schedule: SGD, 500 epochs.
max_epochs = 500

train_cfg = dict(
    type='EpochBasedTrainLoop',
    max_epochs=max_epochs,
    val_interval=10,
    dynamic_intervals=[(max_epochs - 15, 1)])
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    clip_grad=dict(max_norm=10.0),
    optimizer=dict(
        type='SGD',
        lr=0.01,
        momentum=0.937,
        weight_decay=0.0005,
        nesterov=True,
        batch_size_per_gpu=16),
    constructor='mmyolo.YOLOv5OptimizerConstructor')

# lr and momentum are set by YOLOv5ParamSchedulerHook, see the leaf config
param_scheduler = None

custom_hooks = [
    dict(
        type='EMAHook',
        ema_type='mmyolo.ExpMomentumEMA',
        momentum=0.0001,
        update_buffers=True,
        strict_load=False,
        priority=49),
]
