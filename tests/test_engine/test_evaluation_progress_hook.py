"""EvaluationProgressHook speaks by the clock, not by the batch."""

import re
from types import SimpleNamespace

import pytest
from mmengine.registry import HOOKS

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
