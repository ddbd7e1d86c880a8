"""Phase 2 at a high learning rate, all that several detectors say as soft targets.

No threshold chooses labels: each fused box of a score of 0.1 and more is a target as
high as its score, of all classes. With a mean teacher that made scores fall from
round to round; detectors that do not change say the same in each.

NEU_DET_ROOT=/path/to/NEU-DET python tools/train.py \
    configs/dsym/dsym_yolov9-t_1xb32-10e-distill_neu-det-semi20.py \
    --cfg-options load_from=SUPERVISED_CHECKPOINT
"""
_base_ = './dsym_yolov9-t_1xb32-10e-ensemble_neu-det-semi20.py'

model = dict(
    semi_train_cfg=dict(
        classes=None,
        selector=dict(
            _delete_=True, type='TwoThresholds', low=0.1, high=1.0)))
