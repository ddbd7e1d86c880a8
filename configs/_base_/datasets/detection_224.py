# Loaders of 224 px pipelines; a data set adds its type and place to them.
_base_ = './pipelines_224.py'

# mmengine wants _base_ first
from dsym.engine.cpu_threads_hook import usable_cores  # noqa: E402

# A worker spends 4 ms on a mosaic and a core trains 17 images a second: one
# worker feeds two cores and more; GPUs want as many as there are.
num_workers = min(8, max(1, usable_cores() // 2))

train_dataloader = dict(
    batch_size=16,
    num_workers=num_workers,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='yolov5_collate'),
    dataset=dict(pipeline={{_base_.train_pipeline}}))

test_dataloader = dict(
    batch_size=16,
    num_workers=num_workers,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(test_mode=True, pipeline={{_base_.test_pipeline}}))
val_dataloader = test_dataloader

test_evaluator = dict(type='DefectMetric')
val_evaluator = test_evaluator
