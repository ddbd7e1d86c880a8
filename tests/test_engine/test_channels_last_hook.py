"""ChannelsLastHook changes the memory order and no value."""

import torch
from mmcv.ops import RoIAlign
from mmengine.hooks import EMAHook
from mmengine.model import BaseModel
from mmengine.registry import HOOKS
from mmengine.runner import Runner, get_priority
from torch import nn
from torch.utils.data import DataLoader


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


class Regions(nn.Module):
    """A convolution and what mmcv's operator takes from its output."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 16, 3)
        self.roi_align = RoIAlign(4, 1.0, 0)

    def forward(self, image):
        box = torch.tensor([[0.0, 1, 1, 7, 8]])
        return self.roi_align(self.conv(image), box)


def test_mmcv_operators__keep_their_order_and_values():
    torch.manual_seed(0)
    model, image = Regions(), torch.rand(1, 3, 12, 12)
    before = model(image)
    HOOKS.build(dict(type='ChannelsLastHook')).before_run(Run(model))
    torch.testing.assert_close(before, model(image))


def test_priority__before_ema():
    hook = HOOKS.build(dict(type='ChannelsLastHook'))
    assert get_priority(hook.priority) < 49  # what the configs give EMAHook


class ConvModel(BaseModel):
    """One convolution and its norm."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))

    def forward(self, inputs, mode='tensor'):
        return {'loss': self.layers(inputs).sigmoid().mean()}


def test_average_follows_the_reordered_weights(tmp_path):
    """mmyolo's EMA keeps references to the weights that it was made with."""
    images = torch.rand(8, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    runner = Runner(
        model=ConvModel(),
        work_dir=str(tmp_path),
        train_dataloader=DataLoader([dict(inputs=i) for i in images]),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=1.0)),
        # in the order and with the priority of configs/_base_/schedules
        custom_hooks=[
            dict(type='ChannelsLastHook'),
            dict(
                type='EMAHook',
                ema_type='mmyolo.ExpMomentumEMA',
                momentum=0.999999,  # so that the average is the last step
                update_buffers=True,
                priority=49,
            ),
        ],
        default_hooks=dict(checkpoint=None, logger=None),
        experiment_name=tmp_path.name,
    )
    before = runner.model.layers[0].weight.detach().clone()
    runner.train()
    (ema,) = (h.ema_model for h in runner.hooks if isinstance(h, EMAHook))
    weight = runner.model.layers[0].weight
    assert (weight - before).abs().max() > 1e-3
    average = ema.module.state_dict()
    for name, value in runner.model.state_dict().items():
        if value.is_floating_point():  # not the counter of batches
            torch.testing.assert_close(
                average[name], value, rtol=1e-3, atol=1e-4
            )
