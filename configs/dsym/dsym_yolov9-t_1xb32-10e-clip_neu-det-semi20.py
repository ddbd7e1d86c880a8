"""Phase 2 at a high learning rate, pseudo-labels filtered by CLIP.

What CLIP doubts is dropped, as in the paper, and its place ignored. Thresholds are
calibrated and constant; the paper's fall (docs/clip.md).

NEU_DET_ROOT=/path/to/NEU-DET python tools/train.py \
    configs/dsym/dsym_yolov9-t_1xb32-10e-clip_neu-det-semi20.py \
    --cfg-options load_from=SUPERVISED_CHECKPOINT
"""
_base_ = './dsym_yolov9-t_1xb32-10e-even_neu-det-semi20.py'

custom_hooks = [
    *_base_.custom_hooks,
    dict(type='CLIPFilterHook', mode='cosine'),
]
