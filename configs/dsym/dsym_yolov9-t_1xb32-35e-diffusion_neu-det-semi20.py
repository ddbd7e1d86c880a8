"""DSYM's mean teacher on NEU-DET, with as many synthetic images as labels.

DSYM_PAINTER is the folder that training configs/diffusion/ left.

NEU_DET_ROOT=/path/to/NEU-DET python tools/train.py \
    configs/dsym/dsym_yolov9-t_1xb32-35e-diffusion_neu-det-semi20.py
"""
_base_ = [
    './dsym_yolov9-t_1xb32-60e_neu-det-semi20.py',
    '../_base_/datasets/synthetic.py',
]

train_dataloader = dict(
    dataset=dict(
        _base_.synthetic,
        _delete_=True,
        dataset=_base_.train_dataloader.dataset))
# as many steps of both phases as without: 25 x 41 and 10 x 81
train_cfg = dict(burn_in_epochs=25, max_epochs=35)
