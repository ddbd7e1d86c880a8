custom_imports = dict(imports=['dsym'], allow_failed_imports=False)
default_scope = 'mmyolo'

default_hooks = dict(
    timer=dict(type='IterTimerHook'),
    logger=dict(type='LoggerHook', interval=20),
    progress=dict(type='EvaluationProgressHook'),
    param_scheduler=dict(type='ParamSchedulerHook'),
    checkpoint=dict(type='CheckpointHook', interval=5, max_keep_ckpts=2),
    sampler_seed=dict(type='DistSamplerSeedHook'),
    visualization=dict(type='mmdet.DetVisualizationHook'),
    preflight=dict(type='PreflightHook'),
    finite_loss=dict(type='FiniteLossHook'))

env_cfg = dict(
    cudnn_benchmark=True,
    # fork shares the loaded annotations with the workers; one OpenCV thread
    # each, because the cores belong to the training step
    mp_cfg=dict(mp_start_method='fork', opencv_num_threads=1),
    dist_cfg=dict(backend='nccl'))

vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(
    type='mmdet.DetLocalVisualizer',
    vis_backends=vis_backends,
    name='visualizer')
log_processor = dict(type='LogProcessor', window_size=20, by_epoch=True)

randomness = dict(seed=0)
log_level = 'INFO'
load_from = None
resume = False
