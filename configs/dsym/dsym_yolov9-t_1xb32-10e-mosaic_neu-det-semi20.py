"""Phase 2 at a high learning rate, mosaics of the student's unlabelled images.

NEU_DET_ROOT=/path/to/NEU-DET python tools/train.py \
    configs/dsym/dsym_yolov9-t_1xb32-10e-mosaic_neu-det-semi20.py \
    --cfg-options load_from=SUPERVISED_CHECKPOINT
"""
_base_ = './dsym_yolov9-t_1xb32-10e-even_neu-det-semi20.py'

model = dict(semi_train_cfg=dict(mix=dict(type='PseudoMosaic')))
