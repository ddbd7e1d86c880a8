"""YOLOv9-t on 20% of NEU-DET's labels, every second scratched image laid across.

A scratch may lie any way, but of 97 labelled ones 81 stand upright and 13 lie
across: with RandomTranspose and the flips all eight ways are alike. Inclusions
never lie across, and crazing hardly ever stands.

NEU_DET_ROOT=/path/to/NEU-DET python tools/train.py \
    configs/yolov9/yolov9-t_1xb16-200e-transposed_neu-det-labeled20.py
"""
_base_ = './yolov9-t_1xb16-200e_neu-det-labeled20.py'

# after the three transforms of pre_transform: loading, boxes, brightness
turn = dict(type='RandomTranspose', classes=[5])
pre_transform = [*_base_.pre_transform, turn]
mosaic = dict(_base_.train_pipeline[3], pre_transform=pre_transform)
train_pipeline = [*pre_transform, mosaic, *_base_.train_pipeline[4:]]
train_pipeline_stage2 = [*pre_transform, *_base_.train_pipeline_stage2[3:]]

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
custom_hooks = [
    dict(hook, switch_pipeline=train_pipeline_stage2)
    if hook['type'] == 'CloseMosaicHook' else hook
    for hook in _base_.custom_hooks
]
