"""The painter of 40% of NEU-DET's labels, in as many steps as that of 20%.

NEU_DET_ROOT=/path/to/NEU-DET python tools/train.py \
    configs/diffusion/defect-diffusion-128_1xb16-27e_neu-det-labeled40.py
"""
_base_ = './defect-diffusion-128_1xb16-50e_neu-det-labeled20.py'

train_dataloader = dict(dataset=dict(dataset=dict(split='labeled_40')))
train_cfg = dict(max_epochs=27)  # 27 x 139 steps; 50 x 75 there
