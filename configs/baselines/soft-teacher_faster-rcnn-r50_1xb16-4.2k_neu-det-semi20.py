"""mmdet's SoftTeacher: 324 labelled and 1,296 unlabelled images of NEU-DET.

Faster R-CNN R50 from scratch at 224 px, with group norm, because mmdet's
MeanTeacherHook never copies batch statistics. 4,200 steps of 4 labelled and 12
unlabelled images: as many images as the supervised 200 epochs.
"""
_base_ = ['../_base_/datasets/neu_det.py', '../_base_/default_runtime.py']

from mmengine.hub import get_config  # noqa: E402  mmengine wants _base_ first

default_scope = 'mmdet'
max_iters = 4200
size = (224, 224)
gn = dict(type='GN', num_groups=32)

model = get_config(
    'mmdet::soft_teacher/'
    'soft-teacher_faster-rcnn_r50-caffe_fpn_180k_semi-0.1-coco.py').model
model.detector.backbone.update(
    frozen_stages=-1, norm_cfg=gn, norm_eval=False, init_cfg=None)
model.detector.neck.norm_cfg = gn
model.detector.roi_head.bbox_head.num_classes = 6

color_space = [[dict(type='ColorTransform')], [dict(type='AutoContrast')],
               [dict(type='Equalize')], [dict(type='Sharpness')],
               [dict(type='Posterize')], [dict(type='Contrast')],
               [dict(type='Brightness')]]
branch_field = ['sup', 'unsup_teacher', 'unsup_student']
resize_and_flip = [
    dict(type='Resize', scale=size),
    dict(
        type='RandomFlip',
        prob=[0.25, 0.25, 0.25],
        direction=['horizontal', 'vertical', 'diagonal']),
]
pack = dict(
    type='PackDetInputs',
    meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor',
               'flip', 'flip_direction', 'homography_matrix'))
augment = [
    dict(type='RandAugment', aug_space=color_space, aug_num=1),
    dict(type='RandomErasing', n_patches=(1, 5), ratio=(0, 0.2)),
    dict(type='FilterAnnotations', min_gt_bbox_wh=(1e-2, 1e-2)),
]
sup_pipeline = [
    dict(type='LoadCachedImageFromFile'),
    dict(type='CenterBrightness'),
    dict(type='LoadAnnotations', with_bbox=True),
    *resize_and_flip,
    augment[0],
    augment[2],
    dict(type='MultiBranch', branch_field=branch_field, sup=pack),
]
unsup_pipeline = [
    dict(type='LoadCachedImageFromFile'),
    dict(type='CenterBrightness'),
    dict(type='LoadEmptyAnnotations'),
    dict(
        type='MultiBranch',
        branch_field=branch_field,
        unsup_teacher=[*resize_and_flip, pack],
        unsup_student=[*resize_and_flip, *augment, pack]),
]

train_dataloader = dict(
    _delete_=True,
    batch_size=16,
    num_workers=_base_.num_workers,
    persistent_workers=True,
    sampler=dict(
        type='GroupMultiSourceSampler', batch_size=16, source_ratio=[1, 3]),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        type='ConcatDataset',
        datasets=[
            dict(
                type='NEUDETDataset',
                data_root=_base_.data_root,
                split='labeled_20',
                pipeline=sup_pipeline),
            dict(
                type='NEUDETDataset',
                data_root=_base_.data_root,
                split='unlabeled_80',
                unlabeled=True,
                pipeline=unsup_pipeline),
        ]))

train_cfg = dict(
    type='IterBasedTrainLoop', max_iters=max_iters, val_interval=max_iters)
val_cfg = dict(type='TeacherStudentValLoop')
test_cfg = dict(type='TestLoop')

optim_wrapper = dict(
    type='OptimWrapper',
    clip_grad=dict(max_norm=10.0),
    optimizer=dict(type='AdamW', lr=2e-4, weight_decay=0.01, fused=True),
    paramwise_cfg=dict(norm_decay_mult=0.0, bias_decay_mult=0.0))
param_scheduler = [
    dict(
        type='LinearLR', start_factor=0.01, begin=0, end=63, by_epoch=False),
    dict(
        type='LinearLR',
        start_factor=1.0,
        end_factor=0.05,
        begin=63,
        end=max_iters,
        by_epoch=False),
]

default_hooks = dict(checkpoint=dict(by_epoch=False, interval=210))
log_processor = dict(by_epoch=False)
custom_hooks = [
    dict(type='CPUThreadsHook'),
    dict(type='ChannelsLastHook'),
    dict(type='MeanTeacherHook', momentum=0.002),
]
