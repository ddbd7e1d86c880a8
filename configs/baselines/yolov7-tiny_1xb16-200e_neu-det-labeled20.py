"""mmyolo's YOLOv7-tiny from scratch on 20% of NEU-DET's labels, at 224 px."""
_base_ = '../_base_/neu_det_200e.py'

from mmengine.hub import get_config  # noqa: E402  mmengine wants _base_ first

model = get_config(
    'mmyolo::yolov7/yolov7_tiny_syncbn_fast_8x16b-300e_coco.py').model
model.bbox_head.head_module.num_classes = 6
# As mmyolo scales them from 80 classes and 640 px.
model.bbox_head.loss_cls.loss_weight = 0.5 * 6 / 80
model.bbox_head.loss_obj.loss_weight = 1.0 * (224 / 640)**2

# mmyolo's head would decode boxes in bfloat16.
optim_wrapper = dict(enabled=False)
