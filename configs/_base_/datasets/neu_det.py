# NEU-DET at 224 px: trained on the split labeled_20, tested on paper_test.
# Set NEU_DET_ROOT to the folder that holds IMAGES/ and ANNOTATIONS/.
_base_ = './pipelines_224.py'

data_root = '{{$NEU_DET_ROOT:data/NEU-DET}}'

train_dataloader = dict(
    batch_size=8,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='yolov5_collate'),
    dataset=dict(
        type='NEUDETDataset',
        data_root=data_root,
        split='labeled_20',
        pipeline={{_base_.train_pipeline}}))

test_dataloader = dict(
    batch_size=16,
    num_workers=1,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        type='NEUDETDataset',
        data_root=data_root,
        split='paper_test',
        test_mode=True,
        pipeline={{_base_.test_pipeline}}))
val_dataloader = test_dataloader

test_evaluator = dict(type='DefectMetric')
val_evaluator = test_evaluator
