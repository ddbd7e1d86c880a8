"""ForeachExpMomentumEMA against mmyolo's ExpMomentumEMA."""

import copy

import pytest
import torch
from mmengine.registry import MODELS
from mmyolo.models.layers import ExpMomentumEMA
from torch import nn

from dsym.engine.foreach_ema import ForeachExpMomentumEMA


@pytest.mark.parametrize('update_buffers', [True, False])
@pytest.mark.parametrize('interval', [1, 3])
def test_as_mmyolo(interval, update_buffers):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4))
    settings = dict(
        momentum=0.1,
        gamma=5,
        interval=interval,
        update_buffers=update_buffers,
    )
    ours = MODELS.build(
        dict(type='ForeachExpMomentumEMA', model=model, **settings)
    )
    peer = ExpMomentumEMA(model, **settings)
    for _ in range(8):
        model(torch.randn(3, 2, 8, 8))  # moves the running statistics
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter))
        for average in (ours, peer):
            average.update_parameters(model)
    found, expected = ours.state_dict(), peer.state_dict()
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value)
    assert found['steps'] == 8
    assert not torch.equal(found['module.0.weight'], model[0].weight)


def test_goes_on_from_a_checkpoint():
    torch.manual_seed(0)
    model = nn.Linear(3, 3)
    whole = MODELS.build(dict(type='ForeachExpMomentumEMA', model=model))
    for step in range(4):
        if step == 2:
            saved = copy.deepcopy(whole.state_dict())
            second = MODELS.build(
                dict(type='ForeachExpMomentumEMA', model=model)
            )
            second.load_state_dict(saved)
        with torch.no_grad():
            model.weight.add_(1)
        whole.update_parameters(model)
        if step >= 2:
            second.update_parameters(model)
    for name, value in whole.state_dict().items():
        assert torch.equal(second.state_dict()[name], value)


@pytest.mark.parametrize('update_buffers', [True, False])
def test_replaced_tensor__is_named(update_buffers):
    """As a move to another memory format leaves it."""
    model = nn.Sequential(nn.Conv2d(2, 4, 3))
    average = ForeachExpMomentumEMA(model, update_buffers=update_buffers)
    for _ in range(100):
        average.update_parameters(model)
    model[0].weight.data = model[0].weight.data.clone()
    with pytest.raises(RuntimeError, match=r'0\.weight was replaced'):
        average.update_parameters(model)
