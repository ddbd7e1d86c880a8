"""YOLOv9-t from scratch on 20% of NEU-DET's labels (324 images), at 224 px.

NEU_DET_ROOT=/path/to/NEU-DET python tools/train.py \
    configs/yolov9/yolov9-t_1xb16-200e_neu-det-labeled20.py
"""
_base_ = ['../_base_/models/yolov9_t.py', '../_base_/neu_det_200e.py']

# Chosen on dev among 0.5, 0.6 and YOLOv9's 0.7: boxes of one crazed or scaled
# area differ by more than those of one object.
model = dict(test_cfg=dict(nms=dict(iou_threshold=0.6)))
