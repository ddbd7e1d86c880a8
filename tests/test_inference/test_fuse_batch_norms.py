"""Detectors of the toolbox predict the same when merged for inference."""

import copy

import pytest
import torch
from mmcv.cnn import ConvModule
from mmdet.utils import register_all_modules
from mmengine.hub import get_config
from mmengine.model import revert_sync_batchnorm
from mmengine.registry import MODELS, DefaultScope
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from dsym.inference.fuse_batch_norms import fuse_batch_norms
from dsym.inference.model import merge_branches


def noisy(model):
    """In eval mode, with norms that are no identities."""
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, _BatchNorm):
            for value, low in (
                (module.weight.data, 0.5),
                (module.bias.data, -0.5),
                (module.running_mean, -0.5),
                (module.running_var, 0.5),
            ):
                value.uniform_(low, low + 1, generator=generator)
    return model.eval()


def flat(outputs):
    """All tensors of nested outputs."""
    if isinstance(outputs, torch.Tensor):
        return [outputs]
    return [x for part in outputs for x in flat(part)]


@pytest.mark.parametrize(
    'name',
    [
        'mmdet::rtmdet/rtmdet_tiny_8xb32-300e_coco.py',
        'mmdet::nas_fpn/retinanet_r50_nasfpn_crop640-50e_coco.py',
        'mmdet::faster_rcnn/faster-rcnn_r50_fpn_1x_coco.py',
        'mmdet::dcnv2/faster-rcnn_r50-mdconv-c3-c5_fpn_1x_coco.py',
        'mmdet::yolox/yolox_tiny_8xb8-300e_coco.py',
    ],
)
@torch.no_grad()
def test_merged__is_the_same(name):
    """Shared convolutions; RoIAlign and mmcv's deformable convolutions."""
    register_all_modules(init_default_scope=False)
    torch.manual_seed(0)
    config = get_config(name).model
    config.backbone.init_cfg = None
    with DefaultScope.overwrite_default_scope('mmdet'):
        model = noisy(revert_sync_batchnorm(MODELS.build(config)))
    images = torch.rand(1, 3, 128, 128)
    merged = merge_branches(copy.deepcopy(model))
    results = []
    for network in (model, merged):
        features = network.extract_feat(images)
        outputs = flat(features)
        if hasattr(network, 'roi_head'):
            boxes = torch.tensor([[0, 10.0, 20, 90, 100]])
            outputs += flat(
                network.roi_head._bbox_forward(features, boxes)['bbox_feats']
            )
        else:
            outputs += flat(network.bbox_head(features))
        results.append(outputs)
    for plain, fused in zip(*results):
        scale = plain.std().clamp(min=1e-6)
        assert (plain - fused).abs().max() / scale < 1e-2
    norms = [
        sum(isinstance(x, _BatchNorm) for x in network.modules())
        for network in (model, merged)
    ]
    # what is left follows a deformable convolution or precedes any
    assert norms[1] < norms[0] / 2


@torch.no_grad()
def test_fused__only_what_convolves_and_then_normalizes():
    torch.manual_seed(0)
    before = dict(
        order=('norm', 'conv', 'act'), norm_cfg=dict(type='BN'), act_cfg=None
    )
    model = nn.Sequential(
        nn.Conv2d(3, 3, 3),
        nn.Sigmoid(),
        nn.BatchNorm2d(3),  # of what the sigmoid gives
        ConvModule(3, 3, 1, **before),
        ConvModule(3, 4, 1, conv_cfg=dict(type='ConvWS'), **before),
        ConvModule(4, 5, 1, norm_cfg=dict(type='BN')),
    )
    noisy(model)
    images = torch.rand(2, 3, 8, 8)
    expected = model(images)
    fused = fuse_batch_norms(model)
    torch.testing.assert_close(fused(images), expected)
    kinds = [type(x) for x in fused.modules()]
    assert kinds.count(nn.BatchNorm2d) == 3
