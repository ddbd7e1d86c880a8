"""Fused convolutions against the modules that they stand for."""

import copy

import pytest
import torch
from mmcv.cnn import ConvModule
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from tiny_detector import CONFIGS, write_detector
from torch import nn

from dsym.inference.fused_conv import FusedConv, fuse_convs, has_fused_conv
from dsym.inference.model import (
    ModelFiles,
    load_detector,
    merge_branches,
    read_config,
)
from dsym.models.layers import AConv, ConvBNSiLU, RepConvN


@pytest.fixture(scope='module', params=[False, True], ids=['plain', 'mamba'])
def detector(request, tmp_path_factory):
    """Merged branches, channels last."""
    files = ModelFiles(
        *write_detector(tmp_path_factory.mktemp('tiny'), mamba=request.param)
    )
    return load_detector(files, read_config(files), device='cpu')[0]


def outputs(model, x):
    with torch.inference_mode():
        levels = model.bbox_head(model.extract_feat(x))
    return [y for part in levels if part for y in part if y is not None]


# float32 may differ in the order of its sums; a bfloat16 has 8 bits and the
# network 60 layers
@pytest.mark.parametrize(
    ('dtype', 'tolerance'), [(torch.float32, 1e-4), (torch.bfloat16, 0.1)]
)
def test_the_same_network(detector, dtype, tolerance):
    x = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    x = x.to(memory_format=torch.channels_last)
    expected = outputs(detector, x)
    fused = fuse_convs(copy.deepcopy(detector), dtype)
    bf16 = dtype == torch.bfloat16
    with torch.autocast('cpu', torch.bfloat16, enabled=bf16):
        found = outputs(fused, x)
    assert len(found) == len(expected) >= 6  # classes, boxes of three levels
    for ours, exact in zip(found, expected):
        error = (ours - exact).abs().mean() / exact.abs().mean()
        assert ours.dtype == torch.float32
        assert error < tolerance


def test_no_convolution_is_left_out():
    config = Config.fromfile(CONFIGS / '_base_' / 'models' / 'yolov9_t.py')
    init_default_scope('mmyolo')
    config.model.backbone.with_aux = config.model.neck.with_aux = False
    config.model.bbox_head.aux_head_module = None
    model = merge_branches(MODELS.build(config.model).eval())
    convs = sum(type(x) is nn.Conv2d for x in model.modules())
    activations = sum(isinstance(x, nn.SiLU) for x in model.modules())
    fuse_convs(model, torch.float32)
    fused = [x for x in model.modules() if isinstance(x, FusedConv)]
    assert len(fused) == convs == 185
    # all but the last of six branches of the head
    assert sum(x.silu for x in fused) == activations == convs - 6
    left = nn.Conv2d, ConvBNSiLU, RepConvN, nn.SiLU
    assert not [
        x
        for x in model.modules()
        if isinstance(x, left) and not isinstance(x, AConv)
    ]


def test_what_cannot_be_fused_stays():
    model = nn.Sequential(
        ConvModule(3, 4, 3, norm_cfg=dict(type='BN')),
        ConvModule(4, 4, 3, act_cfg=dict(type='ReLU')),
        ConvModule(4, 4, 3, padding=1, padding_mode='reflect', act_cfg=None),
        ConvModule(
            4, 4, 3, act_cfg=dict(type='SiLU'), order=('act', 'conv', 'norm')
        ),
        nn.Conv2d(4, 4, 3, padding=1, padding_mode='circular'),
        RepConvN(4, 4),
    ).eval()
    x = torch.randn(1, 3, 12, 12)
    expected = model(x)
    fuse_convs(model, torch.float32)
    assert not [y for y in model.modules() if isinstance(y, FusedConv)]
    assert torch.equal(model(x), expected)


@pytest.mark.parametrize('one_call', [True, False])
@pytest.mark.parametrize('silu', [True, False])
def test_strides_groups_dilation_and_other_sizes(silu, one_call, monkeypatch):
    if one_call and not has_fused_conv():
        pytest.skip('this PyTorch has no fused convolution')
    monkeypatch.setattr(
        'dsym.inference.fused_conv.has_fused_conv', lambda: one_call
    )
    conv = nn.Conv2d(8, 12, 3, 2, 2, dilation=2, groups=4)
    fused = FusedConv(conv, silu, torch.float32)
    assert fused.one_call == one_call
    for size in (1, 7, 40):
        x = torch.randn(2, 8, size, size + 3)
        expected = conv(x)
        if silu:
            expected = expected * expected.sigmoid()
        torch.testing.assert_close(fused(x), expected, rtol=1e-4, atol=1e-5)
