"""A conditional diffusion model of steel defects, from scratch.

NEU_DET_ROOT=/path/to/NEU-DET python tools/train.py \
    configs/diffusion/defect-diffusion-128_1xb16-50e_neu-det-labeled20.py
"""
_base_ = [
    '../_base_/models/defect_diffusion.py',
    '../_base_/datasets/neu_det.py',
    '../_base_/schedules/muon_200e.py',
    '../_base_/default_runtime.py',
]

train_dataloader = dict(
    collate_fn=dict(type='pseudo_collate', _delete_=True),
    dataset=dict(
        _delete_=True,
        type='DefectWindowDataset',
        dataset=dict(_base_.train_dataloader.dataset, pipeline=[]),
        size=128,
        # no smaller: such a window would be enlarged, and the painting reduced
        min_side=128,
        context=(1.1, 1.8),
        clean=0.15))
val_dataloader = val_cfg = val_evaluator = None
test_dataloader = test_cfg = test_evaluator = None

train_cfg = dict(max_epochs=50)
optim_wrapper = dict(
    optimizer=dict(
        _delete_=True, type='AdamW', lr=1e-3, weight_decay=0.01, fused=True))
custom_hooks = [
    hook for hook in _base_.custom_hooks if hook['type'] != 'BiasWarmupHook'
] + [dict(type='ExportDiffusionHook')]
