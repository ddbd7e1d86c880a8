"""YOLOv9-s from scratch on 20% of NEU-DET's labels, at 224 px."""
_base_ = ['../_base_/models/yolov9_s.py', '../_base_/neu_det_200e.py']

model = dict(test_cfg=dict(nms=dict(iou_threshold=0.6)))  # as yolov9-t
