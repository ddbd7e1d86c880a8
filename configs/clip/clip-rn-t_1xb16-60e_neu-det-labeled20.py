"""A small CLIP, from scratch, that grades boxes of steel defects.

NEU_DET_ROOT=/path/to/NEU-DET python tools/train.py \
    configs/clip/clip-rn-t_1xb16-60e_neu-det-labeled20.py
"""
_base_ = ['../_base_/neu_det_200e.py', '../_base_/models/clip_rn_t.py']

# Images at the size of regions.image_size, flipped and enlarged: the border of
# a smaller one would be learnt as what 'no defect' looks like.
pipeline = [dict(step) for step in _base_.train_pipeline_stage2]
test_pipeline = [dict(step) for step in _base_.test_pipeline]
for step in (*pipeline, *test_pipeline):
    if step['type'] == 'mmyolo.LetterResize':
        step['scale'] = (192, 192)
    if step['type'] == 'mmyolo.YOLOv5RandomAffine':
        step['scaling_ratio_range'] = (1.0, 1.6)
train_dataloader = dict(
    dataset=dict(pipeline=pipeline),
    collate_fn=dict(type='pseudo_collate', _delete_=True))
test_dataloader = dict(dataset=dict(split='dev', pipeline=test_pipeline))
val_dataloader = test_dataloader
test_evaluator = dict(type='RegionGradeMetric', _delete_=True)
val_evaluator = test_evaluator

train_cfg = dict(max_epochs=60, val_interval=20)
optim_wrapper = dict(clip_grad=dict(max_norm=20.0))
custom_hooks = [
    hook for hook in _base_.custom_hooks
    if hook['type'] not in ('BiasWarmupHook', 'CloseMosaicHook')
] + [dict(type='ExportCLIPHook')]
