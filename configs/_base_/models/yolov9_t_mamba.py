# YOLOv9-t with selective scans in its head; the auxiliary branch stays plain.
_base_ = './yolov9_t.py'

model = dict(
    bbox_head=dict(
        type='MambaHead', head_module=dict(type='MambaHeadModule')))
