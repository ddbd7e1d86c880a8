"""The same, painted by an inpainting pipeline of diffusers.

DSYM_PIPELINE is its folder or name, such as that of a Stable Diffusion for
inpainting; a GPU is all but needed.

NEU_DET_ROOT=/path/to/NEU-DET python tools/train.py \
    configs/dsym/yolov9-t-pipeline_1xb16-200e_neu-det-labeled20.py
"""
_base_ = './yolov9-t-diffusion_1xb16-200e_neu-det-labeled20.py'

train_dataloader = dict(
    dataset=dict(
        painter=dict(
            _delete_=True,
            type='PipelinePainter',
            model='{{$DSYM_PIPELINE:work_dirs/pipeline}}')))
