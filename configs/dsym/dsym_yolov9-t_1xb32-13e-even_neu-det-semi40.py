"""Phase 2 at a high learning rate, pseudo-labels as full as labels, 40%.

NEU_DET_ROOT=/path/to/NEU-DET python tools/train.py \
    configs/dsym/dsym_yolov9-t_1xb32-13e-even_neu-det-semi40.py \
    --cfg-options load_from=SUPERVISED_CHECKPOINT
"""
_base_ = './dsym_yolov9-t_1xb32-13e_neu-det-semi40.py'

# As with 20%: inclusion, patches, pitted surface, scratches
model = dict(
    semi_train_cfg=dict(
        classes=[1, 2, 3, 5],
        unsup_weight=1.0,
        consistency=None,
        selector=dict(certain=1.0)))
