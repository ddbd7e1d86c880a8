"""YOLOv9-t on 20% of NEU-DET's labels, many images laid across.

Of 97 labelled scratches 81 stand upright and 13 lie across. A camera may be
turned: every second image of a class that lies both ways is transposed, and with
the flips all eight ways to lay it are alike. Inclusions and crazing lie one way:
of their long boxes (2:1 and more) less than a tenth lie the other way.

NEU_DET_ROOT=/path/to/NEU-DET python tools/train.py \
    configs/yolov9/yolov9-t_1xb16-200e-transposed_neu-det-labeled20.py
"""
_base_ = './yolov9-t_1xb16-200e_neu-det-labeled20.py'

# patches, pitted surface, rolled-in scale, scratches
turn = dict(type='RandomTranspose', classes=[2, 3, 4, 5])
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
