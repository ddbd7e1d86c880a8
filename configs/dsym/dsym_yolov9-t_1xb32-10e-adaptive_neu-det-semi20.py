"""Phase 2 at a high learning rate, a teacher that follows less in bad batches.

NEU_DET_ROOT=/path/to/NEU-DET python tools/train.py \
    configs/dsym/dsym_yolov9-t_1xb32-10e-adaptive_neu-det-semi20.py \
    --cfg-options load_from=SUPERVISED_CHECKPOINT
"""
_base_ = './dsym_yolov9-t_1xb32-10e_neu-det-semi20.py'

# The consistency of its base tells how far student and teacher are apart.
train_cfg = dict(ema=dict(_delete_=True, type='AdaptiveEMA', alpha=0.995))
