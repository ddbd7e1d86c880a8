"""Phase 2 at a high learning rate, half of the labelled images synthetic.

DSYM_PAINTER is the folder that training configs/diffusion/ left.

NEU_DET_ROOT=/path/to/NEU-DET python tools/train.py \
    configs/dsym/dsym_yolov9-t_1xb32-10e-diffusion_neu-det-semi20.py \
    --cfg-options load_from=SUPERVISED_CHECKPOINT
"""
_base_ = [
    './dsym_yolov9-t_1xb32-10e-even_neu-det-semi20.py',
    '../_base_/datasets/synthetic.py',
]

train_dataloader = dict(
    dataset=dict(
        _base_.synthetic,
        _delete_=True,
        dataset=_base_.train_dataloader.dataset))
