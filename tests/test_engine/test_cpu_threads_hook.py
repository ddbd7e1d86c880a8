"""CPUThreadsHook counts the cores that a container may use."""

import math

import pytest
import torch
from mmengine.registry import HOOKS

from dsym.engine.cpu_threads_hook import cgroup_cores, usable_cores


@pytest.mark.parametrize(
    ('text', 'cores'),
    [('max 100000', math.inf), ('150000 100000', 1.5), ('50000 100000', 0.5)],
)
def test_version_2(tmp_path, text, cores):
    (tmp_path / 'cpu.max').write_text(text + '\n')
    assert cgroup_cores(tmp_path) == cores
    if cores < 2:
        assert usable_cores(tmp_path) == 1


@pytest.mark.parametrize(('quota', 'cores'), [(-1, math.inf), (400000, 4.0)])
def test_version_1(tmp_path, quota, cores):
    (tmp_path / 'cpu').mkdir()
    (tmp_path / 'cpu' / 'cpu.cfs_quota_us').write_text(f'{quota}\n')
    (tmp_path / 'cpu' / 'cpu.cfs_period_us').write_text('100000\n')
    assert cgroup_cores(tmp_path) == cores


def test_no_control_group(tmp_path):
    assert cgroup_cores(tmp_path) == math.inf
    assert usable_cores(tmp_path) >= 1


def test_hook_sets_and_respects(monkeypatch):
    before = torch.get_num_threads()
    try:
        HOOKS.build(dict(type='CPUThreadsHook', num_threads=1)).before_run(
            None
        )
        assert torch.get_num_threads() == 1
        torch.set_num_threads(before)
        monkeypatch.setenv('OMP_NUM_THREADS', '7')
        HOOKS.build(dict(type='CPUThreadsHook')).before_run(None)
        assert torch.get_num_threads() == before
    finally:
        torch.set_num_threads(before)
