# AdamW for few images: 120 epochs, mosaic off for the last 20. Nothing is
# selected on the test images: the last checkpoint (its EMA) is the result, and
# the only validation is the one after the last epoch.
max_epochs = 120
close_mosaic_epochs = 20
base_lr = 1e-3

train_cfg = dict(
    type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=max_epochs)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    clip_grad=dict(max_norm=10.0),
    optimizer=dict(
        type='AdamW', lr=base_lr, betas=(0.937, 0.999), weight_decay=0.01),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0))

param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=0.01,
        begin=0,
        end=3,
        by_epoch=True,
        convert_to_iter_based=True),
    dict(
        type='LinearLR',
        start_factor=1.0,
        end_factor=0.05,
        begin=3,
        end=max_epochs,
        by_epoch=True,
        convert_to_iter_based=True)
]

custom_hooks = [
    dict(type='ChannelsLastHook'),
    dict(
        type='EMAHook',
        ema_type='mmyolo.ExpMomentumEMA',
        momentum=0.0001,
        update_buffers=True,
        priority=49),
]
