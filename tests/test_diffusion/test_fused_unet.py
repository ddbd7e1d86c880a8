"""A UNet whose norms are operators against diffusers' own."""

import copy

import pytest
import torch
from diffusers import UNet2DConditionModel
from tiny_diffusion import UNET

from dsym.diffusion.fused_unet import fuse_norms
from dsym.ops import InferenceGroupNorm, build


def unet_of(**options):
    torch.manual_seed(0)
    # whole vectors of channels with AVX-512, unlike the tiny one's 8
    settings = dict(UNET, block_out_channels=(32, 64), cross_attention_dim=16)
    unet = UNet2DConditionModel(
        **settings, in_channels=4, out_channels=4, **options
    ).eval()
    return unet.to(memory_format=torch.channels_last)


# with 'scale_shift' SiLU does not follow the second norm: such blocks stay
@pytest.mark.parametrize(
    ('time', 'in_blocks'),
    # 1 + 1 blocks down, 2 in the middle, 2 + 2 up, two norms each
    [('default', 16), ('scale_shift', 0)],
)
@torch.no_grad()
def test_same_prediction(time, in_blocks):
    unet = unet_of(resnet_time_scale_shift=time)
    fused = copy.deepcopy(unet)
    fuse_norms(fused)
    norms = [x for x in fused.modules() if isinstance(x, InferenceGroupNorm)]
    # one before the output; of transformers, without SiLU: 1 down, 1 in the
    # middle, 2 up
    assert len(norms) == in_blocks + 1 + 4
    assert sum(x.silu for x in norms) == in_blocks + 1
    x = torch.randn(2, 4, 8, 8).to(memory_format=torch.channels_last)
    tokens = torch.randn(2, 3, 16)
    expected, found = (
        model(x, 500, encoder_hidden_states=tokens).sample
        for model in (unet, fused)
    )
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    # and not because nothing depends on the time, whose SiLU was moved
    later = fused(x, 900, encoder_hidden_states=tokens).sample
    assert (later - found).abs().max() > 1e-2


@pytest.mark.skipif(not build.load_ops(), reason='no C++ compiler here')
@torch.no_grad()
def test_the_operator_is_called():
    fused = unet_of()
    fuse_norms(fused)
    x = torch.randn(1, 4, 8, 8).to(memory_format=torch.channels_last)
    with torch.profiler.profile() as profile:
        fused(x, 1, encoder_hidden_states=torch.randn(1, 3, 16))
    calls = {x.key: x.count for x in profile.key_averages()}
    assert calls['dsym::group_norm'] == 21
    assert 'aten::native_group_norm' not in calls
