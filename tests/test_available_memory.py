"""Memory of the machine and of the container, from files made up here."""

import math

import pytest

from dsym.available_memory import available_memory

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


def test_limit_of_a_slice__below_the_root(machine, tmp_path):
    """Version 2: the tightest group between the process and the root."""
    root, table = tmp_path / 'cgroup', tmp_path / 'table'
    table.write_text('0::/a.slice/job/step\n')
    for folder, limit in (
        ('.', 'max'),
        ('a.slice', 2048 * MIB),
        ('a.slice/job', 1024 * MIB),
        ('a.slice/job/step', 'max'),
        ('b.slice', 0),  # of others
    ):
        write(root / folder, memory__max=limit, memory__current=600 * MIB)
    assert available_memory(machine, root, table) == 424 * MIB
    # the slice that holds the job is nearly used up by its other jobs
    (root / 'a.slice/memory.current').write_text(f'{2000 * MIB}')
    assert available_memory(machine, root, table) == 48 * MIB
    # a container sees its own group as root, and names that it cannot see
    table.write_text('0::/docker/0123\n')
    write(root, memory__max=700 * MIB)
    assert available_memory(machine, root, table) == 100 * MIB
    table.write_text('0::/../b.slice\n')
    assert available_memory(machine, root, table) == 100 * MIB


def test_limit_of_a_slice__version_1(machine, tmp_path):
    root, table = tmp_path / 'cgroup', tmp_path / 'table'
    table.write_text('4:memory:/job\n1:cpu,cpuacct:/other\n0::/\n')
    for folder, limit in (('.', 2**63), ('job', 900 * MIB), ('other', 0)):
        write(
            root / 'memory' / folder,
            memory__limit_in_bytes=limit,
            memory__usage_in_bytes=600 * MIB,
        )
    assert available_memory(machine, root, table) == 300 * MIB
