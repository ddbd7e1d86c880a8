"""EvaluationProgressHook speaks by the clock, not by the batch."""

import re
from types import SimpleNamespace

import pytest
from mmengine.registry import HOOKS

from dsym.engine import evaluation_progress_hook

LINE = re.compile(r'Epoch\((val|test)\) \[(\d)/4\] eta: (\d:\d\d:\d\d)$')


@pytest.mark.parametrize(
    ('interval', 'spoken'), [(0, ['1', '2', '3', '4']), (1000, [])]
)
@pytest.mark.parametrize('mode', ['val', 'test'])
def test_lines(mode, interval, spoken):
    lines = []
    runner = SimpleNamespace(logger=SimpleNamespace(info=lines.append))
    setattr(runner, f'{mode}_dataloader', range(4))
    hook = HOOKS.build(dict(type='EvaluationProgressHook', interval=interval))
    getattr(hook, f'before_{mode}_epoch')(runner)
    for i in range(4):
        getattr(hook, f'after_{mode}_iter')(runner, i, {}, [])
    found = [LINE.match(line).groups() for line in lines]
    assert [x[:2] for x in found] == [(mode, done) for done in spoken]


def test_eta__what_the_batches_before_took():
    """Three of four batches in 600 s: 200 s are left."""
    lines = []
    runner = SimpleNamespace(logger=SimpleNamespace(info=lines.append))
    runner.test_dataloader = range(4)
    hook = HOOKS.build(dict(type='EvaluationProgressHook'))
    hook.before_test_epoch(runner)
    hook.began -= 600
    hook.spoke -= 600
    hook.after_test_iter(runner, 2, {}, [])
    assert lines == ['Epoch(test) [3/4] eta: 0:03:20']


def test_eta__of_the_second_walk_by_its_own_batches(monkeypatch):
    """TeacherStudentValLoop walks twice: 10 s a batch, then 20 s."""
    lines = []
    runner = SimpleNamespace(logger=SimpleNamespace(info=lines.append))
    runner.val_dataloader = range(4)
    clock = SimpleNamespace(now=100.0, monotonic=lambda: clock.now)
    monkeypatch.setattr(evaluation_progress_hook, 'time', clock)
    hook = HOOKS.build(dict(type='EvaluationProgressHook'))
    hook.before_val_epoch(runner)
    for seconds in (10, 20):
        for i in range(4):
            clock.now += seconds
            hook.after_val_iter(runner, i, {}, [])
    etas = [LINE.match(line).group(3) for line in lines]
    first = ['0:00:30', '0:00:20', '0:00:10', '0:00:00']
    assert etas == [*first, '0:01:00', '0:00:40', '0:00:20', '0:00:00']
