# Muon and AdamW for few images: 16 images a step, no accumulated gradients.
# Nothing is selected on the test images: the last checkpoint (its EMA) is the
# result, and the only validation is the one after the last epoch.
# Another length is one key: the schedulers end with train_cfg.max_epochs.
train_cfg = dict(
    type='EpochBasedTrainLoop', max_epochs=200, val_interval=10**6)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='BF16OptimWrapper',
    constructor='GroupedOptimWrapperConstructor',
    clip_grad=dict(max_norm=10.0),
    # fused: one kernel a group of parameters, also on a CPU
    optimizer=dict(
        type='MuonAdamW',
        lr=2e-3,
        betas=(0.937, 0.999),
        weight_decay=0.01,
        muon_rms=1.0,
        fused=True),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0))

# The factors of both are multiplied; the second ends with the training.
param_scheduler = [
    dict(
        type='LinearLR',
        start_factor=0.01,
        end=3,
        by_epoch=True,
        convert_to_iter_based=True),
    dict(
        type='LinearLR',
        start_factor=1.0,
        end_factor=0.025,
        by_epoch=True,
        convert_to_iter_based=True)
]

custom_hooks = [
    dict(type='CPUThreadsHook'),
    dict(type='ChannelsLastHook'),
    dict(type='BiasWarmupHook', start_lr=0.1, num_iters=100),
    # YOLO's EMA opens over gamma = 2000 steps and averages 10,000: more than
    # the 4,200 steps of 324 images. Here: 200 steps (10 epochs), within 200.
    dict(
        type='EMAHook',
        ema_type='ForeachExpMomentumEMA',
        momentum=0.005,
        gamma=200,
        update_buffers=True,
        priority=49),
]
