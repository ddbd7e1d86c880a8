"""StopAfterMinutesHook: its last step, rates, checkpoints and resuming."""

import pytest
import torch
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn
from torch.utils.data import DataLoader, Dataset

from dsym.engine.minutes_budget import MinutesBudget
from dsym.errors import InputError

STEPS, EPOCHS, FINAL = 10, 10, 0.1  # an epoch; all; factor of the last rate


class OneWeight(BaseModel):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(1, 1)

    def forward(self, inputs, mode='tensor'):
        return dict(loss=self.layer(inputs).square().mean())


class SlowSteps(Hook):
    """Moves the clock by six seconds a step and notes what a step sees."""

    priority = 'LOW'  # after StopAfterMinutesHook: a step's time is its own

    def __init__(self):
        self.now = 0.0
        self.rates, self.expected = [], []

    def clock(self):
        return self.now

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.now += 6.0
        self.rates.append(runner.optim_wrapper.get_lr()['lr'][0])
        self.expected.append(runner.max_epochs)

    def after_train_epoch(self, runner):
        self.now += 1000.0  # counts for nothing


class SlowBatches(Dataset):
    """Images that take seconds to load."""

    def __init__(self, hook, seconds):
        self.hook, self.seconds = hook, seconds

    def __len__(self):
        return STEPS

    def __getitem__(self, index):
        self.hook.now += self.seconds
        return dict(inputs=torch.ones(1))


def train(
    folder,
    minutes,
    resume=False,
    loop=None,
    more_hooks=(),
    loading=0.0,
    **scheduler,
):
    hook = SlowSteps()
    runner = Runner(
        model=OneWeight(),
        work_dir=str(folder),
        train_dataloader=DataLoader(SlowBatches(hook, loading)),
        train_cfg=loop
        or dict(type='PartialEpochTrainLoop', max_epochs=EPOCHS),
        optim_wrapper=dict(
            constructor='GroupedOptimWrapperConstructor',
            optimizer=dict(type='SGD', lr=1.0),
        ),
        param_scheduler={
            **dict(type='LinearLR', start_factor=1.0, end_factor=FINAL),
            **(scheduler or dict(by_epoch=False, end=STEPS * EPOCHS)),
        },
        default_hooks=dict(
            logger=None,
            checkpoint=dict(
                type='CheckpointHook',
                interval=1 if loop is None else 5,
                by_epoch=loop is None,
            ),
            stop_after=dict(
                type='StopAfterMinutesHook', minutes=minutes, clock=hook.clock
            ),
        ),
        custom_hooks=[*more_hooks, hook],
        resume=resume,
        experiment_name=f'{folder.name}{id(hook)}',
    )
    runner.train()
    return hook, runner


def scheduled(done, minutes):
    """The rate after a number of steps, each of them a tenth of a minute."""
    share = min(done * 0.1 / minutes, 1.0)
    position = max(done, int(share * STEPS * EPOCHS + 1e-9))
    return 1 - (1 - FINAL) * min(position / (STEPS * EPOCHS - 1), 1)


def test_last_step__is_that_which_spends_the_budget(tmp_path):
    hook, runner = train(tmp_path, 2.45)
    # 2.45 minutes are spent within the 25th step, the 5th of the 3rd epoch
    assert (runner.iter, runner.epoch) == (25, 3)
    assert hook.rates == pytest.approx([scheduled(k, 2.45) for k in range(25)])
    # 24 of 24.5 steps: 97 of 100
    assert hook.rates[-1] == pytest.approx(1 - 0.9 * 97 / 99)
    # the plan before the first step, then 25 steps are foreseen
    assert hook.expected == [10] + 24 * [3]
    saved = torch.load(tmp_path / 'epoch_3.pth')
    assert saved['meta']['iter'] == 25
    assert saved['minutes_budget']['spent'] == pytest.approx(2.5)
    assert saved['minutes_budget']['planned_steps'] == 100


def test_resumed__goes_on_with_the_minutes_and_rates(tmp_path):
    whole, _ = train(tmp_path / 'whole', 2.45)
    # killed after the second epoch
    folder = tmp_path / 'whole'
    (folder / 'epoch_3.pth').unlink()
    (folder / 'last_checkpoint').write_text(str(folder / 'epoch_2.pth'))
    hook, runner = train(folder, 2.45, resume=True)
    assert (runner.iter, runner.epoch) == (25, 3)
    assert hook.rates == pytest.approx(whole.rates[20:])
    # nothing is left: no step more
    again, runner = train(folder, 2.45, resume=True)
    assert again.rates == [] and runner.iter == 25


def test_biases__have_the_scheduled_rate_after_their_warmup(tmp_path):
    """Schedules move on when BiasWarmupHook has given its rates back."""
    warmup = dict(type='BiasWarmupHook', start_lr=8.0, num_iters=4)
    _, runner = train(tmp_path, 2.45, more_hooks=[warmup])
    rates = runner.optim_wrapper.get_lr()['lr']
    assert len(rates) == 2  # weight and bias
    assert rates == pytest.approx([FINAL, FINAL])


def test_steps_alone__and_a_budget_that_is_not_spent(tmp_path):
    loop = dict(type='IterBasedTrainLoop', max_iters=100)
    hook, runner = train(tmp_path / 'a', 1.15, loop=loop)
    assert runner.iter == len(hook.rates) == 12
    assert (tmp_path / 'a' / 'iter_12.pth').exists()
    hook, runner = train(tmp_path / 'b', 11.0, loop=dict(loop, max_iters=12))
    assert runner.iter == 12
    assert hook.rates == pytest.approx([1 - 0.9 * k / 99 for k in range(12)])


def test_steps_alone__batches_loaded_again_are_no_minutes(tmp_path):
    """A resumed run loads those of all steps before; they were counted."""
    loop = dict(type='IterBasedTrainLoop', max_iters=STEPS)
    train(tmp_path, 100.0, loop=loop, loading=4.0)
    spent = torch.load(tmp_path / 'iter_10.pth')['minutes_budget']['spent']
    assert spent == pytest.approx(10 * (6 + 4) / 60)
    loop['max_iters'] = 15
    train(tmp_path, 100.0, resume=True, loop=loop, loading=4.0)
    spent = torch.load(tmp_path / 'iter_15.pth')['minutes_budget']['spent']
    # its own first batch comes with those that are loaded again
    assert spent == pytest.approx((15 * (6 + 4) - 4) / 60)


def test_loop_and_schedule_that_do_not_fit__one_line(tmp_path):
    whole = dict(type='EpochBasedTrainLoop', max_epochs=EPOCHS)
    with pytest.raises(InputError, match="type='PartialEpochTrainLoop'"):
        train(tmp_path, 1.0, loop=whole)
    with pytest.raises(InputError, match='convert_to_iter_based=True'):
        train(tmp_path, 1.5, by_epoch=True, end=EPOCHS)
    with pytest.raises(InputError, match='minutes=0: give more than 0'):
        MinutesBudget(0)
