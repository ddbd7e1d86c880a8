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


def test_limit_of_a_slice__below_the_root(tmp_path):
    table = tmp_path / 'table'
    for folder, limit in (
        ('a.slice/job/step', 'max'),
        ('a.slice/job', '150000'),
        ('a.slice', '400000'),
        ('b.slice', '50000'),  # of others
    ):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        (tmp_path / folder / 'cpu.max').write_text(f'{limit} 100000\n')
    table.write_text('0::/a.slice/job/step\n')
    assert cgroup_cores(tmp_path, table) == 1.5
    assert usable_cores(tmp_path, table) == 1
    table.write_text('0::/a.slice\n')
    assert cgroup_cores(tmp_path, table) == 4.0


def test_limit_of_a_slice__version_1(tmp_path):
    """The table may name the controller beside another one."""
    table, job = tmp_path / 'table', tmp_path / 'cpu' / 'job'
    job.mkdir(parents=True)
    (job / 'cpu.cfs_quota_us').write_text('250000\n')
    (job / 'cpu.cfs_period_us').write_text('100000\n')
    table.write_text('9:memory:/other\n3:cpu,cpuacct:/job\n0::/\n')
    assert cgroup_cores(tmp_path, table) == 2.5


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
