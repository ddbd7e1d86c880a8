"""The painter of `make demo`: a conditional diffusion model of 48 images.

python tools/train.py \
    configs/diffusion/defect-diffusion-128_1xb8-10e_steel-synth48.py
"""
_base_ = [
    '../_base_/models/defect_diffusion.py',
    '../_base_/datasets/steel_synth_128.py',
    '../_base_/schedules/muon_200e.py',
    '../_base_/default_runtime.py',
]

train_dataloader = dict(
    batch_size=8,
    dataset=dict(
        _delete_=True,
        type='DefectWindowDataset',
        dataset=dict(_base_.train_dataloader.dataset, pipeline=[]),
        size=128,
        min_side=112,
        context=(1.1, 1.8),
        clean=0.15))
val_dataloader = val_cfg = val_evaluator = None
test_dataloader = test_cfg = test_evaluator = None

# 15 steps an epoch, a window for each of 120 boxes
train_cfg = dict(max_epochs=10)
param_scheduler = [
    dict(_base_.param_scheduler[0], end=1), _base_.param_scheduler[1]
]
optim_wrapper = dict(
    optimizer=dict(
        _delete_=True, type='AdamW', lr=1e-3, weight_decay=0.01, fused=True))
custom_hooks = [
    hook for hook in _base_.custom_hooks if hook['type'] != 'BiasWarmupHook'
] + [dict(type='ExportDiffusionHook')]
default_hooks = dict(checkpoint=dict(interval=5))
