"""YOLOv9-t on 20% of NEU-DET's labels and as many synthetic images.

DSYM_PAINTER is the folder that training configs/diffusion/ left. The gate's
detector and CLIP are those of the package, from the same labels; DSYM_DETECTOR
and DSYM_CLIP name others.

NEU_DET_ROOT=/path/to/NEU-DET python tools/generate_defects.py \
    configs/dsym/yolov9-t-diffusion_1xb16-200e_neu-det-labeled20.py
NEU_DET_ROOT=/path/to/NEU-DET python tools/train.py \
    configs/dsym/yolov9-t-diffusion_1xb16-200e_neu-det-labeled20.py
"""
_base_ = '../yolov9/yolov9-t_1xb16-200e_neu-det-labeled20.py'

train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='DiffusionAugment',
        dataset=_base_.train_dataloader.dataset,
        ratio=1.0,
        layout=dict(background='keep'),
        painter=dict(
            type='DiffusionPainter',
            model='{{$DSYM_PAINTER:work_dirs/diffusion/diffusion}}',
            num_steps=20,
            strength=0.6),
        gate=dict(
            detector=dict(
                config='{{fileDirname}}/../yolov9/yolov9-t_1xb16-200e_neu-det-'
                'labeled20.py',
                checkpoint='{{$DSYM_DETECTOR:dsym://yolov9-t_neu-det-labeled20}}'),
            clip='{{$DSYM_CLIP:dsym://clip-rn-t_neu-det-labeled20}}')))
