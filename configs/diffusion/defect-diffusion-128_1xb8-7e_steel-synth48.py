"""The painter of `make demo`: a conditional diffusion model of 48 images.

python tools/train.py \
    configs/diffusion/defect-diffusion-128_1xb8-7e_steel-synth48.py
"""
_base_ = './defect-diffusion-128_1xb16-50e_neu-det-labeled20.py'

train_dataloader = dict(
    batch_size=8,
    sampler=dict(_delete_=True, type='SeededSampler', shuffle=True),
    dataset=dict(
        min_side=112,  # what the figures of the demo were made with
        dataset=dict(
            _delete_=True,
            type='SteelSynthDataset',
            data_root='{{$DSYM_DATA:data}}/steel_synth',
            num_images=48,
            seed=0,
            pipeline=[])))

# 15 steps an epoch, a window for each of 120 boxes
train_cfg = dict(max_epochs=7)
param_scheduler = [
    dict(_base_.param_scheduler[0], end=1), _base_.param_scheduler[1]
]
default_hooks = dict(checkpoint=dict(interval=7))
