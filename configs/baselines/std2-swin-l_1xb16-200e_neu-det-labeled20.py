"""A Swin-Large cascade for the paper's STD2, which has no public code.

mmdet's Cascade R-CNN with a Swin-L backbone, from scratch on 20% of NEU-DET's
labels, at 224 px.
"""
_base_ = '../_base_/neu_det_200e.py'

from mmengine.hub import get_config  # noqa: E402  mmengine wants _base_ first

default_scope = 'mmdet'
model = get_config('mmdet::cascade_rcnn/cascade-rcnn_r50_fpn_1x_coco.py').model
model.backbone = dict(
    type='SwinTransformer',
    embed_dims=192,
    depths=[2, 2, 18, 2],
    num_heads=[6, 12, 24, 48],
    window_size=7,
    drop_path_rate=0.3,
    patch_norm=True)
model.neck.in_channels = [192, 384, 768, 1536]
for head in model.roi_head.bbox_head:
    head.num_classes = 6

train_dataloader = dict(collate_fn=dict(type='pseudo_collate'))
optim_wrapper = dict(enabled=False, optimizer=dict(lr=1e-4))

# YOLOv9's start of the biases is not this detector's
custom_hooks = [
    hook for hook in _base_.custom_hooks if hook['type'] != 'BiasWarmupHook'
]
