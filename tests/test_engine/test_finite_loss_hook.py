"""FiniteLossHook: the step that ends a training, and what is saved before."""

from types import SimpleNamespace

import pytest
import torch
from mmengine.model import BaseModel
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import nn

from dsym.errors import InputError


class OneWeight(BaseModel):
    """Loss w^2 from w = 1: a step makes it (1 - 2 lr) w."""

    begin = 1.0

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(self.begin))

    def forward(self, inputs, mode='tensor'):
        return dict(loss_square=self.weight.square(), seen=torch.tensor(1.0))


class Root(OneWeight):
    """Loss sqrt|w| from w = 0: the slope is infinity times sign 0, NaN."""

    begin = 0.0

    def forward(self, inputs, mode='tensor'):
        return dict(loss_root=self.weight.abs().sqrt())


def train(folder, lr, model=OneWeight):
    runner = Runner(
        model=model(),
        work_dir=str(folder),
        train_dataloader=dict(
            batch_size=1,
            dataset=[dict(inputs=torch.ones(1))] * 10,
            sampler=dict(type='DefaultSampler', shuffle=False),
        ),
        train_cfg=dict(type='EpochBasedTrainLoop', max_epochs=1),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=lr)),
        default_hooks=dict(
            logger=None,
            checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=1),
            finite_loss=dict(type='FiniteLossHook'),
        ),
        experiment_name=folder.name,
    )
    runner.train()


def test_training_ends_with_the_first_infinite_loss(tmp_path):
    """float32 ends at 3.4e38: w is 1, -2e10, 4e20, its squares 1, 4e20, inf.

    The third step has written infinity into the weight and saves nothing.
    """
    message = r'step 3 of 10: loss inf, loss_square inf: lower \S+\.lr'
    with pytest.raises(InputError, match=message):
        train(tmp_path, lr=1e10)
    saved = {path.name for path in tmp_path.glob('*.pth')}
    assert saved == {'iter_1.pth', 'iter_2.pth'}


def test_training_that_stays_finite_ends_with_its_last_step(tmp_path):
    train(tmp_path, lr=0.1)
    weights = torch.load(tmp_path / 'iter_10.pth', weights_only=False)
    weight = weights['state_dict']['weight']
    torch.testing.assert_close(weight, torch.tensor(0.8**10))


def test_loss_scaler__passes_over_fewer_than_ten_in_a_row():
    """It does nothing in such steps, so the next loss may be finite."""
    hook = HOOKS.build(dict(type='FiniteLossHook'))
    runner = SimpleNamespace(
        iter=0, max_iters=100, optim_wrapper=SimpleNamespace(loss_scaler=None)
    )
    for loss in [float('nan')] * 9 + [1.0] + [float('nan')] * 9:
        hook.after_train_iter(runner, 0, outputs=dict(loss=loss))
    with pytest.raises(InputError, match='loss nan'):
        hook.after_train_iter(runner, 0, outputs=dict(loss=float('nan')))


def test_weights_of_a_gradient_that_is_none__are_not_saved(tmp_path):
    """The loss of the step was 0."""
    with pytest.raises(InputError, match='weight is NaN, and the checkpoint'):
        train(tmp_path, lr=0.1, model=Root)
    assert not list(tmp_path.glob('*.pth'))
