"""The same, also from enlarged parts of images, with and without a defect.

NEU_DET_ROOT=/path/to/NEU-DET python tools/train.py \
    configs/clip/clip-rn-t_1xb16-60e-zoom_neu-det-labeled20.py
"""
_base_ = './clip-rn-t_1xb16-60e_neu-det-labeled20.py'

pipeline = [
    _base_.pre_transform[0],
    dict(type='mmdet.LoadAnnotations', with_bbox=True),
    dict(
        type='mmdet.RandomCrop',
        crop_type='relative_range',
        crop_size=(0.25, 0.25),
        allow_negative_crop=True),
    # what is left of a defect at the edge is none
    dict(
        type='mmdet.FilterAnnotations',
        min_gt_bbox_wh=(6, 6),
        keep_empty=False),
    _base_.pre_transform[2],
    dict(type='mmdet.Resize', scale=(192, 192), keep_ratio=False),
    *_base_.flip_and_pack
]
train_dataloader = dict(dataset=dict(pipeline=pipeline))

model = dict(parts=True)
