"""The same, also from boxes of detectors that have not seen the image.

Each of two detectors finds boxes on the half of labeled_20 that the other was
trained on (docs/clip.md says how).

NEU_DET_ROOT=/path/to/NEU-DET python tools/train.py \
    configs/clip/clip-rn-t_1xb16-60e-detected_neu-det-labeled20.py
"""
_base_ = './clip-rn-t_1xb16-60e_neu-det-labeled20.py'

# The boxes go where each step says that it moves them.
tracked = {
    'mmyolo.LetterResize': 'TrackedLetterResize',
    'mmyolo.YOLOv5RandomAffine': 'TrackedRandomAffine'
}
pipeline = [
    dict(step, type=tracked.get(step['type'], step['type']))
    for step in _base_.pipeline
]
pipeline[-1]['meta_keys'] += ('homography_matrix', )
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='DetectedBoxDataset',
        dataset=dict(_base_.train_dataloader.dataset, pipeline=pipeline),
        detections=['work_dirs/half1/other', 'work_dirs/half2/other']))
