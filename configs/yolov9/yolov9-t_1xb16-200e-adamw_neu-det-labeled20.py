"""YOLOv9-t with AdamW alone: the peer of Muon, and of the official code."""
_base_ = './yolov9-t_1xb16-200e_neu-det-labeled20.py'

optim_wrapper = dict(
    optimizer=dict(
        _delete_=True,
        type='AdamW',
        lr=2e-3,
        betas=(0.937, 0.999),
        weight_decay=0.01,
        fused=True))
