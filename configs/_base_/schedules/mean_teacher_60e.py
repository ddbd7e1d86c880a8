# 50 epochs of phase 1, then 10 passes over the unlabelled images, by MuonAdamW.
# A config adds train_cfg.unlabeled_dataloader.
_base_ = './muon_200e.py'

train_cfg = dict(
    _delete_=True,
    type='MeanTeacherLoop',
    burn_in_epochs=50,
    max_epochs=60,
    val_interval=10**6,
    ema=dict(type='WarmupEMA', alpha=0.998))
val_cfg = dict(_delete_=True, type='mmdet.TeacherStudentValLoop')

# Epochs of the two phases have different lengths: schedules count steps.
param_scheduler = [
    dict(type='LinearLR', start_factor=0.01, end=63, by_epoch=False),
    dict(type='LinearLR', start_factor=1.0, end_factor=0.05, by_epoch=False),
]

# No EMAHook: the teacher is the average.
custom_hooks = _base_.custom_hooks[:3]
