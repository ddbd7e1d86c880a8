"""Phase 2 at a high learning rate with the hard pseudo-labels of mmdet, 40%.

The yardstick: as mmdet's SemiBaseDetector, boxes above one threshold are true
ones, all else is background, also in images without any, and nothing else is
compared.

NEU_DET_ROOT=/path/to/NEU-DET python tools/train.py \
    configs/dsym/dsym_yolov9-t_1xb32-13e-hard_neu-det-semi40.py \
    --cfg-options load_from=SUPERVISED_CHECKPOINT
"""
_base_ = './dsym_yolov9-t_1xb32-13e_neu-det-semi40.py'

model = dict(
    semi_train_cfg=dict(
        unsup_weight=1.0,
        box_weight=1.0,
        # mmdet's 0.9 is for softmax scores: a sigmoid's rarely reach it
        selector=dict(_delete_=True, type='ScoreThreshold', score_thr=0.5),
        consistency=None,
        # no box nearly is a label
        doubtful=dict(share=1.0),
        empty_images=True))
