"""mmyolo's YOLOv8-n on synthetic steel: a peer in tools/benchmark.py."""
_base_ = [
    '../_base_/datasets/steel_synth.py',
    '../_base_/schedules/muon_200e.py',
    '../_base_/default_runtime.py',
]

from mmengine.hub import get_config  # noqa: E402  mmengine wants _base_ first

model = get_config(
    'mmyolo::yolov8/yolov8_n_syncbn_fast_8xb16-500e_coco.py').model
model.bbox_head.head_module.num_classes = 6
model.train_cfg.assigner.num_classes = 6

# mmyolo's head would decode boxes in bfloat16.
optim_wrapper = dict(enabled=False)
