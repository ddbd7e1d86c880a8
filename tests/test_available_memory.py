"""Memory of the machine and of the container, from files made up here."""

import math

import pytest

from dsym.available_memory import available_memory, local_processes

MIB = 2**20


@pytest.fixture
def machine(tmp_path):
    """A machine with 3 GiB available, of 8 GiB."""
    file = tmp_path / 'meminfo'
    file.write_text(
        'MemTotal:        8388608 kB\nMemFree:          100000 kB\n'
        'MemAvailable:    3145728 kB\nBuffers:           12345 kB\n'
    )
    return file


def write(folder, **files):
    for name, content in files.items():
        path = folder / name.replace('__', '.')
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f'{content}\n')
    return folder


def test_machine__without_a_container(machine, tmp_path):
    assert available_memory(machine, tmp_path / 'none') == 3072 * MIB


@pytest.mark.parametrize(
    ('limit', 'expected'),
    [
        ('max', 3072),  # no limit: the machine's
        (1024 * MIB, 1024 - 600 + 200),
        (8192 * MIB, 3072),  # more than there is
        (300 * MIB, 0),  # over its limit, less than what can go
    ],
)
def test_version_2(machine, tmp_path, limit, expected):
    root = write(
        tmp_path / 'cgroup',
        memory__max=limit,
        memory__current=600 * MIB,
        memory__stat=f'anon 400\ninactive_file {200 * MIB}\nactive_file 9',
    )
    assert available_memory(machine, root) == expected * MIB


@pytest.mark.parametrize(
    ('limit', 'expected'),
    [(9223372036854771712, 3072), (1024 * MIB, 1024 - 600 + 100)],
)
def test_version_1(machine, tmp_path, limit, expected):
    root = tmp_path / 'cgroup'
    write(
        root / 'memory',
        memory__limit_in_bytes=limit,
        memory__usage_in_bytes=600 * MIB,
        memory__stat=f'inactive_file 7\ntotal_inactive_file {100 * MIB}',
    )
    assert available_memory(machine, root) == expected * MIB


def test_other_systems__nothing_is_known(tmp_path):
    assert available_memory(tmp_path / 'none', tmp_path) == math.inf


def test_local_processes__of_either_launcher(monkeypatch):
    for name in ('LOCAL_WORLD_SIZE', 'SLURM_NTASKS_PER_NODE'):
        monkeypatch.delenv(name, raising=False)
    assert local_processes() == 1
    monkeypatch.setenv('SLURM_NTASKS_PER_NODE', '4')
    assert local_processes() == 4
    monkeypatch.setenv('LOCAL_WORLD_SIZE', '8')
    assert local_processes() == 8
