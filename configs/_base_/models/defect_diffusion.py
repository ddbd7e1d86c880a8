# Grey windows of 128 px, seen as 32 x 32 places of 4 x 4 px: a UNet at 32 px
# costs a sixteenth of one at 128 px. 5.6 M parameters.
model = dict(
    type='ConditionalDiffusion',
    patch=4,
    # the deviation of NEU-DET's windows; their texture's is 0.04 to 0.15
    contrast=0.2,
    # what is finer than the places of 4 x 4 px: 0.02 to 0.12 of -1 to 1
    sigma_data=0.3,
    outside=0.1,
    unet=dict(
        sample_size=32,
        block_out_channels=(48, 96, 128),
        layers_per_block=1,
        down_block_types=('DownBlock2D', 'CrossAttnDownBlock2D',
                          'CrossAttnDownBlock2D'),
        up_block_types=('CrossAttnUpBlock2D', 'CrossAttnUpBlock2D',
                        'UpBlock2D'),
        attention_head_dim=4,  # heads, whatever its name
        norm_num_groups=8),
    condition_encoder=dict(
        type='DefectConditionEncoder', num_classes=6, dims=128),
    # no min-SNR weights: they leave the last steps, which make the texture,
    # untrained in as few steps as a CPU has time for
    scheduler=dict(prediction_type='v_prediction'))
