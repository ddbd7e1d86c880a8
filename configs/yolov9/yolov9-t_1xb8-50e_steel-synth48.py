"""YOLOv9-t on 48 synthetic images: the supervised run of `make demo`.

python tools/train.py configs/yolov9/yolov9-t_1xb8-50e_steel-synth48.py
"""
_base_ = [
    '../_base_/models/yolov9_t.py',
    '../_base_/datasets/steel_synth_128.py',
    '../_base_/schedules/muon_200e.py',
    '../_base_/default_runtime.py',
]

train_dataloader = dict(
    batch_size=8,
    collate_fn=dict(type='yolov5_collate'),
    dataset=dict(pipeline=_base_.train_pipeline))

# boxes of 32, 64 and 128 px at first: in images of 128 px the larger levels
# would learn nothing from YOLOv9's 120, 240 and 480
start = dict(init_distance=2.0)
model = dict(bbox_head=dict(head_module=start, aux_head_module=start))

# 6 steps an epoch
train_cfg = dict(max_epochs=50)
param_scheduler = [
    dict(_base_.param_scheduler[0], end=5), _base_.param_scheduler[1]
]
default_hooks = dict(checkpoint=dict(interval=25))
