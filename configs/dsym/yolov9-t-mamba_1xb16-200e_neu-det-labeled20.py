"""YOLOv9-t with MambaHead from scratch on 20% of NEU-DET's labels, at 224 px.

NEU_DET_ROOT=/path/to/NEU-DET python tools/train.py \
    configs/dsym/yolov9-t-mamba_1xb16-200e_neu-det-labeled20.py
"""
_base_ = ['../_base_/models/yolov9_t_mamba.py', '../_base_/neu_det_200e.py']

model = dict(test_cfg=dict(nms=dict(iou_threshold=0.6)))  # as yolov9-t
