"""BiasWarmupHook's learning rates, step by step."""

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader

from dsym.errors import InputError


class LinearModel(BaseModel):
    """One layer with a bias."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 1)

    def forward(self, inputs, mode='tensor'):
        return {'loss': self.layer(inputs).square().mean()}


class RatesHook(Hook):
    """Notes the rates that each step was taken with."""

    # after BiasWarmupHook has set and before it takes back
    priority = 'NORMAL'

    def __init__(self):
        self.weights, self.biases = [], []

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        for group in runner.optim_wrapper.optimizer.param_groups:
            rates = self.biases if group.get('is_bias') else self.weights
            rates.append(group['lr'])


def run(folder, steps, warmup, constructor='GroupedOptimWrapperConstructor'):
    rates = RatesHook()
    optim_wrapper = dict(optimizer=dict(type='SGD', lr=1.0))
    if constructor:
        optim_wrapper['constructor'] = constructor
    runner = Runner(
        model=LinearModel(),
        work_dir=str(folder),
        train_dataloader=DataLoader(
            [dict(inputs=torch.ones(2)) for _ in range(steps)]
        ),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        optim_wrapper=optim_wrapper,
        param_scheduler=dict(
            type='LinearLR', start_factor=0.5, end_factor=0.1, begin=0,
            end=8, by_epoch=False,
        ),
        default_hooks=dict(checkpoint=None, logger=None),
        experiment_name=folder.name,
    )  # fmt: skip
    if warmup:
        runner.register_hook(
            dict(type='BiasWarmupHook', start_lr=8.0, num_iters=4)
        )
    runner.register_hook(rates)
    runner.train()
    return rates


def test_rates(tmp_path):
    rates = run(tmp_path, steps=8, warmup=True)
    # LinearLR from 0.5 to 0.1 in 7 steps
    scheduled = [0.5 - 0.4 * k / 7 for k in range(8)]
    assert rates.weights == pytest.approx(scheduled)
    expected = [
        8.0 * (1 - k / 4) + scheduled[k] * k / 4 if k < 4 else scheduled[k]
        for k in range(8)
    ]
    assert rates.biases == pytest.approx(expected)


def test_other_constructor__one_line(tmp_path):
    with pytest.raises(InputError, match='GroupedOptimWrapperConstructor'):
        run(tmp_path, steps=1, warmup=True, constructor=None)
