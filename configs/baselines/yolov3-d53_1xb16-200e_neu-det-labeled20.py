"""mmdet's YOLOv3-D53 from scratch on 20% of NEU-DET's labels, at 224 px."""
_base_ = '../_base_/neu_det_200e.py'

from mmengine.hub import get_config  # noqa: E402  mmengine wants _base_ first

default_scope = 'mmdet'
model = get_config('mmdet::yolo/yolov3_d53_8xb8-ms-608-273e_coco.py').model
model.backbone.init_cfg = None
model.bbox_head.num_classes = 6
# Anchors for 608 px, on images of 224 px.
model.bbox_head.anchor_generator.base_sizes = [
    [(43, 33), (57, 73), (137, 120)],
    [(11, 22), (23, 17), (22, 44)],
    [(4, 5), (6, 11), (12, 8)],
]

train_dataloader = dict(collate_fn=dict(type='pseudo_collate'))
# With the recipe's 2e-3 its loss was not finite from the fifth epoch on.
optim_wrapper = dict(enabled=False, optimizer=dict(lr=2e-4))

# YOLOv9's start of the biases is not this detector's
custom_hooks = [
    hook for hook in _base_.custom_hooks if hook['type'] != 'BiasWarmupHook'
]
