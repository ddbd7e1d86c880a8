"""Contenders in processes of their own, timed in turns.

Absolute times on a shared machine are noise. Each contender lives in its own
process, so that memory is its own; they work one at a time, in alternation,
and every round gives one ratio to the peer. The others wait without a thread
running.
"""

import logging
import multiprocessing
import os
import resource
import shutil
import statistics
import tempfile
import time
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from typing import Callable, Dict, Iterator, List, NamedTuple, Union

from mmengine.logging import MMLogger

# One for all contenders, or by name.
Count = Union[int, Dict[str, int]]

# Steps of a turn that are not timed: caches and the loader's queue, which
# filled while the others ran, are the same for all after them.
WARM_STEPS = 2
# For the loader's workers to fill their queues and fall silent.
SETTLE_SECONDS = 1.0
# Without a word from a contender it is taken for hung; a turn takes minutes.
PATIENCE = 1800.0


class Gate:
    """What a contender calls after each step; it blocks between turns.

    Args:
        pipe (Connection): End of the parent's pipe.
    """

    def __init__(self, pipe: Connection) -> None:
        self.pipe = pipe
        self.left = 0
        self.times: List[float] = []
        self.last = 0.0

    def __call__(self) -> None:
        """End one step and, at the end of a turn, wait for the next one."""
        now = time.perf_counter()
        self.times.append(now - self.last)
        if self.left:
            self.left -= 1
        if not self.left:
            self.wait()
        self.last = time.perf_counter()

    def wait(self) -> None:
        """Report the turn that ended and wait for the order of the next.

        Raises:
            SystemExit: When the parent has seen enough.
        """
        import psutil  # benchmark.py says it in one line if it is missing

        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        # a loader's workers share most pages with their parent
        for child in psutil.Process().children(recursive=True):
            peak += child.memory_full_info().uss
        self.pipe.send((self.times, peak / 2**20))
        steps = self.pipe.recv()
        if steps is None:
            raise SystemExit(0)
        self.times, self.left = [], steps


class ContenderError(RuntimeError):
    """One line that says which contender failed and why."""


class Turns(NamedTuple):
    """What was measured of one contender.

    Attributes:
        seconds (list[float]): Median step of each round.
        peak_mib (float): Highest resident memory of its process and what its
            workers have for themselves, in MiB.
    """

    seconds: List[float]
    peak_mib: float


def _work(contender: Callable, pipe: Connection, folder: str) -> None:
    # what it makes there is not its own to remove: it is ended from outside
    os.environ['TMPDIR'] = tempfile.tempdir = folder
    # or models tell how each of their parameters was drawn
    MMLogger.get_current_instance().setLevel(logging.WARNING)
    try:
        contender(Gate(pipe))
    except SystemExit as end:
        if end.code:
            # a tool's own line begins with its name
            pipe.send(str(end.code).split(': error: ')[-1])
    except Exception as error:
        pipe.send(str(error) or repr(error))
        raise


@contextmanager
def talking_to(name: str) -> Iterator[None]:
    """Name the contender whose end of its pipe is gone.

    Raises:
        ContenderError: If what is sent or received finds nobody.
    """
    try:
        yield
    except (EOFError, OSError):
        raise ContenderError(f'{name}: its process ended') from None


def count_of(count: Count, name: str) -> int:
    """Number of a contender."""
    return count if isinstance(count, int) else count[name]


def alternate(
    contenders: Dict[str, Callable[[Gate], None]],
    rounds: int,
    steps: Count,
    say: Callable[[str], None] = print,
    warm: Count = WARM_STEPS,
) -> Dict[str, Turns]:
    """Run contenders in turns.

    Args:
        contenders (dict): By name, a picklable function that runs steps for
            ever and calls the gate after each of them.
        rounds (int): Turns of each.
        steps (int or dict[str, int]): Timed steps a turn.
        say (callable): Prints progress. Defaults to ``print``.
        warm (int or dict[str, int]): Steps before them that are not timed.
            Defaults to 2.

    Returns:
        dict[str, Turns]: By name.

    Raises:
        ContenderError: If a contender fails.
    """
    context = multiprocessing.get_context('spawn')
    pipes, processes = {}, []
    folder = tempfile.mkdtemp(prefix='dsym-benchmark-')
    wait = 1.0  # s for those that failed, to print their traceback

    def answer(name: str):
        got = f'no word for {PATIENCE:.0f} s'
        with talking_to(name):
            if pipes[name].poll(PATIENCE):
                got = pipes[name].recv()
        if not isinstance(got, tuple):
            raise ContenderError(f'{name}: {" ".join(got.split())}')
        return got

    try:
        for name, contender in contenders.items():
            pipes[name], end = context.Pipe()
            process = context.Process(
                target=_work, args=(contender, end, folder)
            )
            process.start()
            end.close()
            processes.append(process)
            answer(name)  # its first step: it is set up
            say(f'{name}: ready')
        seconds: Dict[str, List[float]] = {name: [] for name in contenders}
        peaks: Dict[str, float] = {}
        begin = time.monotonic()
        for number in range(rounds):
            for name in contenders:
                time.sleep(SETTLE_SECONDS)
                first = count_of(warm, name)
                with talking_to(name):
                    pipes[name].send(first + count_of(steps, name))
                times, peaks[name] = answer(name)
                seconds[name].append(statistics.median(times[first:]))
            minutes = (time.monotonic() - begin) / 60
            left = minutes / (number + 1) * (rounds - number - 1)
            say(f'round {number + 1}/{rounds}, {left:.1f} min left')
        for pipe in pipes.values():
            with suppress(OSError):  # all of its turns are measured
                pipe.send(None)
        wait = 10.0
    finally:
        for process in processes:
            process.join(timeout=wait)
            process.kill()
            process.join()
        shutil.rmtree(folder, ignore_errors=True)
    return {name: Turns(seconds[name], peaks[name]) for name in contenders}


def ratios(ours: Turns, peer: Turns) -> Dict[str, float]:
    """Compare speeds round by round.

    Returns:
        dict[str, float]: ``speed_up``, the median over the rounds of the
        peer's time over ours, its quartiles ``low`` and ``high``, and
        ``memory``, our peak over the peer's.
    """
    each = sorted(p / o for o, p in zip(ours.seconds, peer.seconds))
    if len(each) > 1:
        low, _, high = statistics.quantiles(each, n=4, method='inclusive')
    else:
        low = high = each[0]
    return dict(
        speed_up=statistics.median(each),
        low=low,
        high=high,
        memory=ours.peak_mib / peer.peak_mib,
    )
