# DSYM: selective scans in the heads of student and teacher.
_base_ = './dsym_yolov9_t.py'

model = dict(
    detector=dict(
        bbox_head=dict(
            type='MambaHead', head_module=dict(type='MambaHeadModule'))))
