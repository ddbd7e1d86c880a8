"""Phase 2 at a high learning rate, without pseudo-labels of two classes.

Of crazing and rolled-in scale the checkpoint has an AP50 below 0.4 on dev.

NEU_DET_ROOT=/path/to/NEU-DET python tools/train.py \
    configs/dsym/dsym_yolov9-t_1xb32-10e-classes_neu-det-semi20.py \
    --cfg-options load_from=SUPERVISED_CHECKPOINT
"""
_base_ = './dsym_yolov9-t_1xb32-10e_neu-det-semi20.py'

# inclusion, patches, pitted surface, scratches
model = dict(semi_train_cfg=dict(classes=[1, 2, 3, 5], unsup_weight=1.0))
