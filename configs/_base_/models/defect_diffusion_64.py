# A UNet of 3.4 M parameters for grey windows of 64 px.
model = dict(
    type='ConditionalDiffusion',
    unet=dict(
        sample_size=64,
        block_out_channels=(32, 64, 128),
        layers_per_block=1,
        down_block_types=('DownBlock2D', 'CrossAttnDownBlock2D',
                          'CrossAttnDownBlock2D'),
        up_block_types=('CrossAttnUpBlock2D', 'CrossAttnUpBlock2D',
                        'UpBlock2D'),
        attention_head_dim=8,
        norm_num_groups=8),
    condition_encoder=dict(
        type='DefectConditionEncoder', num_classes=6, dims=128),
    scheduler=dict(prediction_type='v_prediction'),
    min_snr=5.0)
