"""Phase 2 at a high learning rate, a teacher that comes to rest.

NEU_DET_ROOT=/path/to/NEU-DET python tools/train.py \
    configs/dsym/dsym_yolov9-t_1xb32-10e-cosine_neu-det-semi20.py \
    --cfg-options load_from=SUPERVISED_CHECKPOINT
"""
_base_ = './dsym_yolov9-t_1xb32-10e-even_neu-det-semi20.py'

# Half of the average's 200 steps at first, as long as there is much to learn.
train_cfg = dict(ema=dict(_delete_=True, type='CosineEMA', alpha=0.99))
