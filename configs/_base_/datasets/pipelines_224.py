# Pipelines for 200 px industrial images, seen at 224 px (7 x stride 32).
img_scale = (224, 224)  # (width, height)

# A worker decodes an image once; a mosaic alone asks for four of them.
# Light differs more than defects do: every image gets the same mean, and in
# training a contrast of its own (docs/training.md). Hue means nothing in grey.
pre_transform = [
    dict(type='LoadCachedImageFromFile'),
    dict(type='mmyolo.LoadAnnotations', with_bbox=True),
    dict(type='CenterBrightness', contrast=(0.6, 1.4))
]

resize = dict(
    type='mmyolo.LetterResize',
    scale=img_scale,
    allow_scale_up=True,
    pad_val=dict(img=114))

# Steel has no up or down: both flips, each on half of the images.
flip_and_pack = [
    dict(
        type='mmdet.RandomFlip',
        prob=[0.25, 0.25, 0.25],
        direction=['horizontal', 'vertical', 'diagonal']),
    dict(
        type='mmdet.PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'flip',
                   'flip_direction'))
]

train_pipeline = [
    *pre_transform,
    dict(
        type='mmyolo.Mosaic',
        img_scale=img_scale,
        pad_val=114.0,
        pre_transform=pre_transform),
    dict(
        type='mmyolo.YOLOv5RandomAffine',
        max_rotate_degree=0.0,
        max_shear_degree=0.0,
        scaling_ratio_range=(0.5, 1.5),
        max_aspect_ratio=100,
        border=(-img_scale[0] // 2, -img_scale[1] // 2),
        border_val=(114, 114, 114)),
    *flip_and_pack
]

# The last epochs see whole images, as the test does.
train_pipeline_stage2 = [
    *pre_transform,
    resize,
    dict(
        type='mmyolo.YOLOv5RandomAffine',
        max_rotate_degree=0.0,
        max_shear_degree=0.0,
        scaling_ratio_range=(0.5, 1.5),
        max_aspect_ratio=100,
        border_val=(114, 114, 114)),
    *flip_and_pack
]

test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='CenterBrightness'),
    resize,
    dict(type='mmdet.LoadAnnotations', with_bbox=True),
    dict(
        type='mmdet.PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape',
                   'scale_factor', 'pad_param'))
]

# tools/test.py --tta: the four ways to lie, merged by the recipe's NMS.
tta_model = dict(
    type='mmdet.DetTTAModel',
    tta_cfg=dict(nms=dict(type='nms', iou_threshold=0.6), max_per_img=300))
tta_pipeline = [
    *test_pipeline[:-1],
    dict(
        type='mmdet.TestTimeAug',
        transforms=[
            [
                dict(type='mmdet.RandomFlip', prob=0.0),
                *(dict(type='mmdet.RandomFlip', prob=1.0, direction=direction)
                  for direction in ('horizontal', 'vertical', 'diagonal'))
            ],
            [
                dict(
                    type='mmdet.PackDetInputs',
                    meta_keys=(*test_pipeline[-1]['meta_keys'], 'flip',
                               'flip_direction'))
            ]
        ])
]
