"""Memory that this machine, or this container, still has."""

import math
from pathlib import Path

from .control_groups import CGROUPS, OWN_GROUPS, own_groups

MEMINFO = Path('/proc/meminfo')
# Limit, use, and what the kernel can give up of it: pages of files that
# nobody has used lately, which it drops before it ends a process.
FILES = (
    # version 2: bytes or "max"
    ('memory.max', 'memory.current', 'inactive_file'),
    # version 1: huge without a limit
    (
        'memory.limit_in_bytes',
        'memory.usage_in_bytes',
        'total_inactive_file',
    ),
)


def group_memory(folder: Path) -> float:
    """Read what one control group may still take.

    Args:
        folder (Path): Of the group.

    Returns:
        float: Bytes, at least 0; infinite without a limit.
    """
    stat = folder / 'memory.stat'
    for limit, usage, key in FILES:
        limit, usage = folder / limit, folder / usage
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


def cgroup_memory(root: Path = CGROUPS, table: Path = OWN_GROUPS) -> float:
    """Read what this process may still take within its control groups.

    Args:
        root (Path): Where the control groups are mounted.
        table (Path): As in :func:`own_groups`.

    Returns:
        float: Bytes, at least 0; infinite without a limit.
    """
    groups = own_groups('memory', root, table)
    return min(map(group_memory, groups), default=math.inf)


def available_memory(
    meminfo: Path = MEMINFO,
    root: Path = CGROUPS,
    table: Path = OWN_GROUPS,
) -> float:
    """Read how many bytes new pages may take without swapping.

    Args:
        meminfo (Path): Linux's table, of which ``MemAvailable`` is read.
        root (Path): Where the control groups are mounted.
        table (Path): As in :func:`own_groups`.

    Returns:
        float: The smaller of the machine's and the container's; infinite
        where neither tells.
    """
    machine = math.inf
    if meminfo.is_file():
        for line in meminfo.read_text().splitlines():
            if line.startswith('MemAvailable:'):
                machine = 1024 * int(line.split()[1])  # in kB
    return min(machine, cgroup_memory(root, table))
