"""YOLOv9-t on 40% of NEU-DET's labels and as many synthetic images.

The painter is that of configs/diffusion/ for labeled_40; the gate's detector
and CLIP know labeled_20 unless DSYM_DETECTOR and DSYM_CLIP name others.

NEU_DET_ROOT=/path/to/NEU-DET python tools/train.py \
    configs/dsym/yolov9-t-diffusion_1xb16-100e_neu-det-labeled40.py
"""
_base_ = './yolov9-t-diffusion_1xb16-200e_neu-det-labeled20.py'

train_dataloader = dict(
    dataset=dict(
        dataset=dict(split='labeled_40'),
        painter=dict(
            model='{{$DSYM_PAINTER:work_dirs/diffusion40/diffusion}}')))
train_cfg = dict(max_epochs=100)  # x 81 steps
