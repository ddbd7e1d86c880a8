"""SteelSynth at 128 px with few labels: what `make demo` learns from.

48 labelled images, 192 unlabelled ones. 128 px are a third of the pixels of
224. In so few steps there are no mosaics, but flips and zoom alone.
"""
_base_ = './semi_224.py'

views = [_base_.weak_pipeline, _base_.strong_pipeline]
pipelines = [
    [
        dict(step, scale=(128, 128)) if 'scale' in step else step
        for step in pipeline
    ] for pipeline in (_base_.train_pipeline_stage2,
                       _base_.labeled_pipeline_stage2, *views,
                       _base_.test_pipeline)
]
train_pipeline, labeled_pipeline, weak_pipeline, strong_pipeline, \
    test_pipeline = pipelines
unlabeled_pipeline = [
    *_base_.unlabeled_pipeline[:-1],
    dict(
        _base_.unlabeled_pipeline[-1],
        unsup_teacher=weak_pipeline,
        unsup_student=strong_pipeline)
]

synth = dict(
    type='SteelSynthDataset', data_root='{{$DSYM_DATA:data}}/steel_synth')
# its pipelines load no annotations
hidden = dict(synth, num_images=192, seed=3)

train_dataloader = dict(
    dataset=dict(
        synth, num_images=48, seed=0, pipeline=labeled_pipeline))
unlabeled_dataloader = dict(
    dataset=dict(hidden, pipeline=unlabeled_pipeline))
val_dataloader = dict(
    dataset=dict(synth, num_images=60, seed=1, pipeline=test_pipeline))
test_dataloader = dict(
    dataset=dict(synth, num_images=120, seed=2, pipeline=test_pipeline))
