# What every detector from scratch on NEU-DET shares: data, 224 px pipelines,
# 200 epochs of MuonAdamW, mosaic off for the last quarter, metric and hooks.
# Without mosaics the training images are learnt by heart, with them to the end
# hardly at all (docs/training.md).
_base_ = [
    './datasets/neu_det.py',
    './schedules/muon_200e.py',
    './default_runtime.py',
]

custom_hooks = [
    *_base_.custom_hooks,
    dict(
        type='CloseMosaicHook',
        num_last_epochs=0.25,
        switch_pipeline=_base_.train_pipeline_stage2),
]
