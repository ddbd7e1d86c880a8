"""mmdet's TOOD-R50 from scratch on 20% of NEU-DET's labels, at 224 px.

Its deformable convolutions take seconds an image on a CPU.
"""
_base_ = '../_base_/neu_det_200e.py'

from mmengine.hub import get_config  # noqa: E402  mmengine wants _base_ first

default_scope = 'mmdet'
model = get_config('mmdet::tood/tood_r50_fpn_1x_coco.py').model
# From scratch: nothing is frozen and batch statistics are learnt.
model.backbone.update(init_cfg=None, frozen_stages=-1, norm_eval=False)
model.bbox_head.num_classes = 6

train_dataloader = dict(collate_fn=dict(type='pseudo_collate'))
# mmcv's deformable convolution knows no bfloat16.
optim_wrapper = dict(enabled=False, optimizer=dict(lr=2e-4))

# YOLOv9's start of the biases is not this detector's
custom_hooks = [
    hook for hook in _base_.custom_hooks if hook['type'] != 'BiasWarmupHook'
]
