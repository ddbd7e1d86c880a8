"""The alternation that tools/benchmark.py measures with."""

import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / 'tools'))

from benchmarks.alternation import WARM_STEPS, Turns, alternate, ratios


@dataclass
class Sleeper:
    """Writes its name at each step, which takes a while."""

    name: str
    log: str
    seconds: float

    def __call__(self, gate):
        while True:
            with open(self.log, 'a') as file:
                file.write(self.name)
            time.sleep(self.seconds)
            gate()


def broken(gate):
    raise ValueError('no such model')


def test_turns_alternate_and_times_are_theirs(tmp_path):
    log = tmp_path / 'log'
    slow = Sleeper('s', str(log), 0.06)
    fast = Sleeper('f', str(log), 0.02)
    turns = alternate(
        {'slow': slow, 'fast': fast}, rounds=2, steps=3, say=lambda text: None
    )
    turn = WARM_STEPS + 3
    # one step to set up, then two turns each; the gate after a turn's last
    # step stops its process until the next
    expected = 's' + 'f' + 2 * (turn * 's' + turn * 'f')
    assert log.read_text() == expected
    assert [len(t.seconds) for t in turns.values()] == [2, 2]
    assert min(turns['slow'].seconds) >= 0.06
    assert min(turns['fast'].seconds) >= 0.02
    assert turns['slow'].peak_mib > 1


def test_failure_is_named():
    with pytest.raises(RuntimeError, match='bad: no such model'):
        alternate({'bad': broken}, rounds=1, steps=1, say=lambda text: None)


def test_ratios__median_and_quartiles_of_the_rounds():
    ours = Turns([1.0, 2.0, 4.0], peak_mib=100.0)
    peer = Turns([2.0, 2.0, 4.0], peak_mib=50.0)
    # 2, 1 and 1; inclusive quartiles of 1, 1, 2
    assert ratios(ours, peer) == dict(
        speed_up=1.0, low=1.0, high=1.5, memory=2.0
    )
