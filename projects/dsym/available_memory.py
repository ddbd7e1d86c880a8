"""Memory that this machine, or this container, still has."""

import math
import os
from pathlib import Path

MEMINFO = Path('/proc/meminfo')
CGROUPS = Path('/sys/fs/cgroup')


def cgroup_memory(root: Path = CGROUPS) -> float:
    """Read what the container may still take.

    Pages of files that nobody has used lately count as free, as the kernel
    gives them up before it ends a process.

    Args:
        root (Path): Where the control groups are mounted.

    Returns:
        float: Bytes, at least 0; infinite without a limit.
    """
    version_1 = root / 'memory'
    for limit, usage, stat, key in (
        (
            root / 'memory.max',  # version 2: bytes or "max"
            root / 'memory.current',
            root / 'memory.stat',
            'inactive_file',
        ),
        (
            version_1 / 'memory.limit_in_bytes',  # huge without a limit
            version_1 / 'memory.usage_in_bytes',
            version_1 / 'memory.stat',
            'total_inactive_file',
        ),
    ):
        if not limit.is_file() or not usage.is_file():
            continue
        text = limit.read_text().strip()
        if text == 'max':
            return math.inf
        free = int(text) - int(usage.read_text())
        if stat.is_file():
            lines = (x.split() for x in stat.read_text().splitlines())
            free += int(dict(lines).get(key, 0))
        return max(0, free)
    return math.inf


def available_memory(meminfo: Path = MEMINFO, root: Path = CGROUPS) -> float:
    """Read how many bytes new pages may take without swapping.

    Args:
        meminfo (Path): Linux's table, of which ``MemAvailable`` is read.
        root (Path): As in :func:`cgroup_memory`.

    Returns:
        float: The smaller of the machine's and the container's; infinite
        where neither tells.
    """
    machine = math.inf
    if meminfo.is_file():
        for line in meminfo.read_text().splitlines():
            if line.startswith('MemAvailable:'):
                machine = 1024 * int(line.split()[1])  # in kB
    return min(machine, cgroup_memory(root))


def local_processes() -> int:
    """Count the training processes of this machine, as their launcher says.

    Returns:
        int: Of torchrun or slurm; 1 without a launcher.
    """
    for name in ('LOCAL_WORLD_SIZE', 'SLURM_NTASKS_PER_NODE'):
        if os.environ.get(name, '').isdigit():
            return max(1, int(os.environ[name]))
    return 1
