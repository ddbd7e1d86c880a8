"""YOLOv9-t on 20% of NEU-DET's labels and as many synthetic images.

DSYM_PAINTER is the folder that training configs/diffusion/ left. The gate's
detector and CLIP are those of the package, from the same labels; DSYM_DETECTOR
and DSYM_CLIP name others.

NEU_DET_ROOT=/path/to/NEU-DET python tools/generate_defects.py \
    configs/dsym/yolov9-t-diffusion_1xb16-200e_neu-det-labeled20.py
NEU_DET_ROOT=/path/to/NEU-DET python tools/train.py \
    configs/dsym/yolov9-t-diffusion_1xb16-200e_neu-det-labeled20.py
"""
_base_ = [
    '../yolov9/yolov9-t_1xb16-200e_neu-det-labeled20.py',
    '../_base_/datasets/synthetic.py',
]

train_dataloader = dict(
    dataset=dict(
        _base_.synthetic,
        _delete_=True,
        dataset=_base_.train_dataloader.dataset))
