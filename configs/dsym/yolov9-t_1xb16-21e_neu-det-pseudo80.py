"""STAC: labelled images, and unlabelled ones with fixed pseudo-labels.

tools/dataset_converters/detections_to_coco.py makes them from a supervised
detector's; each labelled image is seen twice as often.

NEU_DET_ROOT=/path/to/NEU-DET PSEUDO_LABELS=data/pseudo.json python tools/train.py \
    configs/dsym/yolov9-t_1xb16-21e_neu-det-pseudo80.py
"""
_base_ = ['../_base_/models/yolov9_t.py', '../_base_/neu_det_200e.py']

# mmyolo's own leaves out the doubtful boxes, which the head has to ignore.
load = dict(type='mmdet.LoadAnnotations', with_bbox=True)
pre_transform = [_base_.pre_transform[0], load, _base_.pre_transform[2]]
pipeline = [
    *pre_transform,
    dict(_base_.train_pipeline[3], pre_transform=pre_transform),
    *_base_.train_pipeline[4:]
]
pipeline_stage2 = [*pre_transform, *_base_.train_pipeline_stage2[3:]]

labeled = dict(_base_.train_dataloader.dataset, pipeline=pipeline)
pseudo = dict(
    type='VerifiedCocoDataset',
    ann_file='{{$PSEUDO_LABELS:data/pseudo.json}}',
    metainfo=dict(classes=('crazing', 'inclusion', 'patches',
                           'pitted_surface', 'rolled-in_scale', 'scratches')),
    pipeline=pipeline)
train_dataloader = dict(
    collate_fn=dict(type='pseudo_collate', _delete_=True),
    dataset=dict(
        _delete_=True,
        type='ConcatDataset',
        datasets=[labeled, labeled, pseudo]))

model = dict(
    # a list of samples keeps the ignored boxes
    data_preprocessor=dict(type='mmdet.DetDataPreprocessor'),
    test_cfg=dict(nms=dict(iou_threshold=0.6)))

# 121 steps each: as many as 121 epochs of the labelled images alone
train_cfg = dict(max_epochs=21)
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, end=63, by_epoch=False),
    dict(
        type='LinearLR', start_factor=1.0, end_factor=0.025, by_epoch=True,
        convert_to_iter_based=True)
]
custom_hooks = [
    *_base_.custom_hooks[:-1],
    dict(_base_.custom_hooks[-1], switch_pipeline=pipeline_stage2)
]
