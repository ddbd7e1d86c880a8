"""Pipelines of semi-supervised training at 224 px.

Pseudo-labels go from the teacher's weak view to the student's strong one by
both views' homography_matrix, so every geometric step of a view records one.
"""
_base_ = './detection_224.py'

branch_field = ['sup', 'unsup_teacher', 'unsup_student']
flip = _base_.flip_and_pack[0]

# A mosaic of four images has no homography.
branch_labeled = [
    dict(type='DropDataset'),
    dict(
        type='mmdet.MultiBranch',
        branch_field=branch_field,
        sup=[_base_.flip_and_pack[1]])
]
labeled_pipeline = [
    dict(type='SeedAugmentations'), *_base_.train_pipeline[:-1],
    *branch_labeled
]
# For long trainings: a sixth of the mosaics are laid over another one.
labeled_pipeline_mixup = [
    *labeled_pipeline[:-3],
    dict(
        type='mmyolo.YOLOv5MixUp',
        prob=0.15,
        pre_transform=_base_.train_pipeline[:-2]), *labeled_pipeline[-3:]
]
labeled_pipeline_stage2 = [
    dict(type='SeedAugmentations'), *_base_.train_pipeline_stage2[:-1],
    *branch_labeled
]

tracked_resize = dict(_base_.resize, type='TrackedLetterResize')

# PackDetInputs' own keys lack homography_matrix.
pack_view = dict(
    type='mmdet.PackDetInputs',
    meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor',
               'pad_param', 'flip', 'flip_direction', 'homography_matrix'))

# The teacher sees what a test sees, but for the flip.
weak_pipeline = [
    dict(type='CenterBrightness'), tracked_resize, flip, pack_view
]

# Gamma moves the mean, so it precedes CenterBrightness; the noise of a sensor
# is not blurred. Erased squares, 22 px at most and of the image's mean, hide
# parts of a defect.
strong_pipeline = [
    dict(type='RandomGamma', gamma=(0.8, 1.25)),
    dict(type='CenterBrightness', contrast=(0.6, 1.4)),
    dict(type='MildBlur', sigma=(0.1, 0.7)),
    dict(type='SensorNoise', sigma=(0.0, 4.0)), tracked_resize,
    dict(
        type='TrackedRandomAffine',
        max_rotate_degree=0.0,
        max_shear_degree=0.0,
        scaling_ratio_range=(0.5, 1.5),
        max_aspect_ratio=100,
        border_val=(114, 114, 114)), flip,
    dict(
        type='mmdet.RandomErasing',
        n_patches=(1, 4),
        ratio=(0.0, 0.1),
        img_border_value=114), pack_view
]

unlabeled_pipeline = [
    dict(type='SeedAugmentations'),
    dict(type='LoadCachedImageFromFile'),
    dict(type='mmdet.LoadEmptyAnnotations'),
    dict(type='DropDataset'),
    dict(
        type='mmdet.MultiBranch',
        branch_field=branch_field,
        unsup_teacher=weak_pipeline,
        unsup_student=strong_pipeline)
]

# A batch of each a step. Lists of images, not stacks: they are of branches. A
# resumed run sees the images that an unbroken one would have seen.
lists = dict(
    sampler=dict(type='SeededSampler'),
    collate_fn=dict(type='pseudo_collate'))
train_dataloader = dict(lists, dataset=dict(pipeline=labeled_pipeline))
unlabeled_dataloader = dict(
    _base_.train_dataloader,
    **lists,
    dataset=dict(pipeline=unlabeled_pipeline))
