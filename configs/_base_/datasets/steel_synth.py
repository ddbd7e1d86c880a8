# SteelSynth, the embedded synthetic data, at 224 px. Three seeds give three
# sets without a common image; each is generated once, on first use.
_base_ = './pipelines_224.py'

data_root = '{{$DSYM_DATA:data}}/steel_synth'

train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='yolov5_collate'),
    dataset=dict(
        type='SteelSynthDataset',
        data_root=data_root,
        num_images=240,
        seed=0,
        pipeline={{_base_.train_pipeline}}))

val_dataloader = dict(
    batch_size=8,
    num_workers=1,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='SteelSynthDataset',
        data_root=data_root,
        num_images=60,
        seed=1,
        test_mode=True,
        pipeline={{_base_.test_pipeline}}))

test_dataloader = dict(
    batch_size=8,
    num_workers=1,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='SteelSynthDataset',
        data_root=data_root,
        num_images=60,
        seed=2,
        test_mode=True,
        pipeline={{_base_.test_pipeline}}))

val_evaluator = dict(type='DefectMetric')
test_evaluator = dict(type='DefectMetric')
