# AdamW for few images: 75 epochs, mosaic off for the last 15. Nothing is
# selected on the test images: the last checkpoint (its EMA) is the result, and
# the only validation is the one after the last epoch.
max_epochs = 75
close_mosaic_epochs = 15
base_lr = 7e-4  # for 8 images a step; 1e-3 / sqrt(2) against 16 images

train_cfg = dict(
    type='EpochBasedTrainLoop', max_epochs=max_epochs, val_interval=max_epochs)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    clip_grad=dict(max_norm=10.0),
    # fused: one kernel for the 1,200 small parameters, also on a CPU
    optimizer=dict(
        type='AdamW',
        lr=base_lr,
        betas=(0.937, 0.999),
        weight_decay=0.01,
        fused=True),
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
    # YOLO's EMA opens over gamma = 2000 steps and averages 10,000: more than
    # the 3,075 steps of this run. Here: 500 steps (12 epochs), within 300.
    dict(
        type='EMAHook',
        ema_type='mmyolo.ExpMomentumEMA',
        momentum=0.002,
        gamma=300,
        update_buffers=True,
        priority=49),
]
