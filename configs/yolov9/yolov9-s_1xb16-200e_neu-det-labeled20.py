"""YOLOv9-s from scratch on 20% of NEU-DET's labels, at 224 px."""
_base_ = ['../_base_/models/yolov9_s.py', '../_base_/neu_det_200e.py']
