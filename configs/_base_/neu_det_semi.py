# Semi-supervised training on NEU-DET at 224 px: labeled_20 and, without their
# labels, unlabeled_80; 50 epochs of phase 1 (21 steps each), then 10 passes
# over the unlabelled images (81 steps each).
_base_ = [
    './datasets/semi_224.py',
    './schedules/muon_200e.py',
    './default_runtime.py',
]

data_root = '{{$NEU_DET_ROOT:data/NEU-DET}}'
split, unlabeled_split = 'labeled_20', 'unlabeled_80'
dataset = dict(type='NEUDETDataset', data_root=data_root)

# One batch of each a step. Lists of images, not stacks: they are of branches.
train_dataloader = dict(
    sampler=dict(type='SeededSampler'),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        dataset, split=split, pipeline=_base_.labeled_pipeline))
unlabeled_dataloader = dict(
    _base_.train_dataloader,
    sampler=dict(type='SeededSampler'),
    collate_fn=dict(type='pseudo_collate'),
    dataset=dict(
        dataset,
        split=unlabeled_split,
        unlabeled=True,
        pipeline=_base_.unlabeled_pipeline))
val_dataloader = dict(dataset=dict(dataset, split='dev'))
test_dataloader = dict(dataset=dict(dataset, split='paper_test'))

train_cfg = dict(
    _delete_=True,
    type='MeanTeacherLoop',
    unlabeled_dataloader=unlabeled_dataloader,
    burn_in_epochs=50,
    max_epochs=60,
    val_interval=10**6,
    ema=dict(type='WarmupEMA', alpha=0.998))
val_cfg = dict(_delete_=True, type='mmdet.TeacherStudentValLoop')

# Epochs of the two phases have different lengths: schedules count steps.
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, end=63, by_epoch=False),
    dict(
        type='LinearLR', start_factor=1.0, end_factor=0.05, by_epoch=False),
]

# No EMAHook: the teacher is the average.
custom_hooks = [
    *_base_.custom_hooks[:3],
    dict(
        type='CloseMosaicHook',
        num_last_epochs=3,
        switch_pipeline=_base_.labeled_pipeline_stage2),
    dict(
        type='PseudoLabelAuditHook',
        dataset=dict(dataset, split=unlabeled_split)),
]
