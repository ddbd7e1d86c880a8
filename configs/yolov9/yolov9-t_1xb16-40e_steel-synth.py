"""YOLOv9-t on synthetic steel at 128 px: minutes on two cores.

python tools/train.py configs/yolov9/yolov9-t_1xb16-40e_steel-synth.py
"""
_base_ = './yolov9-t_1xb16-200e_steel-synth.py'

# At 128 px, a third of the pixels of 224, and with flips only: 600 steps are
# too few to learn from mosaics and zooms.
size = dict(scale=(128, 128))
train_pipeline = [
    *_base_.pre_transform,
    dict(_base_.resize, **size),
    *_base_.flip_and_pack,
]
test_pipeline = [
    dict(t, **size) if 'scale' in t else t for t in _base_.test_pipeline
]

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))

train_cfg = dict(max_epochs=40, val_interval=20)
