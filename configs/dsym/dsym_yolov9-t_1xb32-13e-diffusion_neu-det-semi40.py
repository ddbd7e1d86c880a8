"""Phase 2 at a high learning rate, half of the labelled images synthetic, 40%.

The painter is that of configs/diffusion/ for labeled_40, or DSYM_PAINTER; the
gate knows labeled_20 only, half of these labels.

NEU_DET_ROOT=/path/to/NEU-DET python tools/train.py \
    configs/dsym/dsym_yolov9-t_1xb32-13e-diffusion_neu-det-semi40.py \
    --cfg-options load_from=SUPERVISED_CHECKPOINT
"""
_base_ = [
    './dsym_yolov9-t_1xb32-13e-even_neu-det-semi40.py',
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
