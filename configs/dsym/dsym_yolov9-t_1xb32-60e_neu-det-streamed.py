"""DSYM's mean teacher whose unlabelled images are a folder of any size.

The folder's list stays on disk (docs/scaling.md). UNLABELED_ROOT names it.

NEU_DET_ROOT=/path/to/NEU-DET UNLABELED_ROOT=/path/to/images python tools/train.py \
    configs/dsym/dsym_yolov9-t_1xb32-60e_neu-det-streamed.py
"""
_base_ = './dsym_yolov9-t_1xb32-60e_neu-det-semi20.py'

unlabeled = _base_.train_cfg.unlabeled_dataloader
# an image is seen too seldom to be kept in memory
pipeline = [
    dict(type='LoadImageFromFile') if step['type'] == 'LoadCachedImageFromFile'
    else step for step in unlabeled.dataset.pipeline
]
train_cfg = dict(
    unlabeled_dataloader=dict(
        sampler=dict(_delete_=True, type='PermutedSampler'),
        dataset=dict(
            _delete_=True,
            type='StreamedImageDataset',
            data_root='{{$UNLABELED_ROOT:data/unlabeled}}',
            pipeline=pipeline)))

# nothing is known of these images that could be hidden
custom_hooks = [
    hook for hook in _base_.custom_hooks
    if hook['type'] != 'PseudoLabelAuditHook'
]
