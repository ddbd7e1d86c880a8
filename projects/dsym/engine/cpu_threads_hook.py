import math
import os
from pathlib import Path
from typing import Optional

import torch
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ..control_groups import CGROUPS, OWN_GROUPS, own_groups


def group_cores(folder: Path) -> float:
    """Read how many cores' time one control group may use.

    Args:
        folder (Path): Of the group.

    Returns:
        float: Quota over period; infinite without a limit.
    """
    limit = folder / 'cpu.max'  # version 2: "quota period" or "max period"
    if limit.is_file():
        quota, period = limit.read_text().split()
        return math.inf if quota == 'max' else int(quota) / int(period)
    quota = folder / 'cpu.cfs_quota_us'  # version 1: -1 without limit
    period = quota.with_name('cpu.cfs_period_us')
    if quota.is_file() and int(quota.read_text()) > 0:
        return int(quota.read_text()) / int(period.read_text())
    return math.inf


def cgroup_cores(root: Path = CGROUPS, table: Path = OWN_GROUPS) -> float:
    """Read how many cores' time this process's control groups may use.

    Args:
        root (Path): Where the control groups are mounted.
        table (Path): As in :func:`own_groups`.

    Returns:
        float: That of the tightest; infinite without a limit.
    """
    groups = own_groups('cpu', root, table)
    return min(map(group_cores, groups), default=math.inf)


def usable_cores(root: Path = CGROUPS, table: Path = OWN_GROUPS) -> int:
    """Count the cores that this process may keep busy.

    Args:
        root (Path): Where the control groups are mounted.
        table (Path): As in :func:`own_groups`.

    Returns:
        int: The smaller of affinity and container limit, at least 1.
    """
    if hasattr(os, 'sched_getaffinity'):
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    return max(1, math.floor(min(cores, cgroup_cores(root, table))))


@HOOKS.register_module()
class CPUThreadsHook(Hook):
    """Give torch as many threads as the process has cores.

    torch counts the cores of the machine. In a container that may use two of
    sixty-four, its threads wait for each other at every operator. A value of
    ``OMP_NUM_THREADS`` is respected, and so is a smaller number of threads
    that was set before.

    Args:
        num_threads (int, optional): Threads of torch. Defaults to None, the
            usable cores.
    """

    priority = 'VERY_HIGH'

    def __init__(self, num_threads: Optional[int] = None) -> None:
        self.num_threads = num_threads

    def before_run(self, runner: Runner) -> None:
        """Set the number of threads of this process.

        Args:
            runner (Runner): Unused.
        """
        threads = self.num_threads
        if threads is None:
            if 'OMP_NUM_THREADS' in os.environ:
                return
            threads = min(usable_cores(), torch.get_num_threads())
        torch.set_num_threads(threads)
        print_log(f'torch computes with {threads} threads', logger='current')
