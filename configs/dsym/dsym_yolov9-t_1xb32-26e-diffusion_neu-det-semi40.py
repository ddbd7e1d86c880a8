"""The same with 40% of the labels, and as many synthetic images.

The painter is that of configs/diffusion/ for labeled_40, or DSYM_PAINTER; the
gate knows labeled_20 only, half of these labels.

NEU_DET_ROOT=/path/to/NEU-DET python tools/train.py \
    configs/dsym/dsym_yolov9-t_1xb32-26e-diffusion_neu-det-semi40.py
"""
_base_ = [
    './dsym_yolov9-t_1xb32-38e_neu-det-semi40.py',
    '../_base_/datasets/synthetic.py',
]

train_dataloader = dict(
    dataset=dict(
        _base_.synthetic,
        _delete_=True,
        painter=dict(
            _base_.synthetic.painter,
            model='{{$DSYM_PAINTER:work_dirs/diffusion40/diffusion}}'),
        dataset=_base_.train_dataloader.dataset))
# as many steps of both phases as without: 13 x 81 and 13 x 61
train_cfg = dict(burn_in_epochs=13, max_epochs=26)
