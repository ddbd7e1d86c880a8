"""ChannelsLastHook changes the memory order and no value."""

import torch
from mmengine.registry import HOOKS
from mmengine.runner import get_priority
from torch import nn


class Run:
    """What the hook sees of a runner."""

    def __init__(self, model):
        self.model = model


def test_weights_are_reordered_and_outputs_equal():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.SiLU(), nn.Conv2d(8, 4, 1))
    image = torch.rand(2, 3, 9, 9)
    before = model(image)
    HOOKS.build(dict(type='ChannelsLastHook')).before_run(Run(model))
    assert model[0].weight.is_contiguous(memory_format=torch.channels_last)
    after = model(image)
    # the outputs follow the weights' order
    assert after.stride(1) == 1
    torch.testing.assert_close(before, after)


def test_priority__before_ema():
    hook = HOOKS.build(dict(type='ChannelsLastHook'))
    assert get_priority(hook.priority) < 49  # what the configs give EMAHook
