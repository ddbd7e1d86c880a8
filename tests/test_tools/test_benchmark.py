"""The alternation that tools/benchmark.py measures with."""

import os
import signal
import sys
from pathlib import Path

import pytest
import torch
from mmengine.registry import MODELS, init_default_scope
from require_peer import require_peer
from turn_contenders import (
    Litter,
    Named,
    Sleeper,
    broken,
    not_installed,
    silent,
)

sys.path.insert(0, str(Path(__file__).parents[2] / 'tools'))

from benchmarks import alternation
from benchmarks.alternation import WARM_STEPS, Turns, alternate, ratios
from benchmarks.costs import count_costs
from benchmarks.detectors import InferDeployed, load_config, official_twin
from benchmarks.growth import NoiseStep
from benchmarks.scans import Copy, Exponentials, Scan, Shape
from benchmarks.suites import OURS, YOLOV8
from peers.official_yolov9 import find_official

from dsym.errors import InputError
from dsym.ops import load_ops


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


def test_turns__of_as_many_steps_as_each_needs(tmp_path):
    """One step to set up, then 1 of the slow and 1 + 3 of the fast one."""
    log = tmp_path / 'log'
    slow, fast = (Sleeper(name, str(log), 0.0) for name in 'sf')
    alternate(
        {'slow': slow, 'fast': fast},
        rounds=1,
        steps=dict(slow=1, fast=3),
        warm=dict(slow=0, fast=1),
        say=lambda text: None,
    )
    assert log.read_text() == 'sf' + 's' + 'ffff'


@pytest.mark.parametrize(
    ('contender', 'message', 'patience'),
    [
        (broken, 'bad: no such model', 120.0),
        (not_installed, 'bad: the code is not installed: pip it', 120.0),
        (silent, 'bad: no word for 2 s', 2.0),
    ],
)
def test_failure_is_named(monkeypatch, contender, message, patience):
    monkeypatch.setattr(alternation, 'PATIENCE', patience)
    with pytest.raises(alternation.ContenderError, match=message):
        alternate({'bad': contender}, rounds=1, steps=1, say=lambda text: None)


@pytest.fixture
def killed(tmp_path):
    """Two turns of a contender that is killed after a line of progress."""
    log = tmp_path / 'log'

    def run(when):
        def say(text):
            if text.startswith(when):
                os.kill(int(log.read_text()), signal.SIGKILL)

        return alternate({'x': Named(str(log))}, rounds=2, steps=1, say=say)

    return run


@pytest.mark.parametrize('when', ['x: ready', 'round 1/2'])
def test_contender_killed_between_its_turns_is_named(killed, when):
    message = 'x: its process ended'
    with pytest.raises(alternation.ContenderError, match=message):
        killed(when)


def test_contender_killed_after_its_turns_is_measured(killed):
    assert len(killed('round 2/2')['x'].seconds) == 2


def test_temporary_files_are_removed(tmp_path):
    log = tmp_path / 'log'
    alternate({'x': Litter(str(log))}, 1, 1, say=lambda text: None)
    folder = Path(log.read_text())
    assert folder.parent.name.startswith('dsym-benchmark-')
    assert not folder.parent.exists()


def test_ratios__median_and_quartiles_of_the_rounds():
    ours = Turns([1.0, 2.0, 4.0], peak_mib=100.0)
    peer = Turns([2.0, 2.0, 4.0], peak_mib=50.0)
    # 2, 1 and 1; inclusive quartiles of 1, 1, 2
    assert ratios(ours, peer) == dict(
        speed_up=1.0, low=1.0, high=1.5, memory=2.0
    )


def test_what_a_scan_must_move_and_compute():
    """u, delta, y and B, C of 2 x 5 tokens; 3 x 4 exponentials each."""
    shape = Shape(batch=2, channels=3, length=5, states=4)
    assert shape.bytes == 10 * (3 * 3 + 2 * 4) * 4
    assert shape.exponentials == 10 * 3 * 4
    assert {x.shape for x in shape.inputs().values()} == {
        (2, 3, 5), (3, 4), (2, 4, 5), (3,),
    }  # fmt: skip


@pytest.mark.parametrize(
    'contender',
    [
        Scan('torch', Shape(1, 2, 5)),
        Copy(Shape(1, 2, 5)),
        pytest.param(
            Exponentials(Shape(1, 2, 5)),
            marks=pytest.mark.skipif(
                not load_ops(), reason='no C++ compiler or ninja here'
            ),
        ),
    ],
)
def test_contender_calls_the_gate_after_each_step(contender):
    class EnoughError(Exception):
        pass

    calls = []

    def gate():
        calls.append(1)
        if len(calls) == 3:
            raise EnoughError

    with pytest.raises(EnoughError):
        contender(gate)


def test_growth__two_processes_train_on_noise(monkeypatch):
    """Four boxes an image; each process has one of the two."""
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    calls = []

    def gate():
        calls.append(torch.distributed.is_initialized())
        if len(calls) == 2:
            raise SystemExit

    step = NoiseStep(str(OURS), 2, 64, num_classes=3, processes=2)
    batch = step.batch()
    assert batch['inputs'].shape == (2, 3, 64, 64)
    rows = batch['data_samples']['bboxes_labels']
    assert rows[:, 0].tolist() == [0.0] * 4 + [1.0] * 4
    assert set(rows[:, 1].tolist()) == {0.0, 1.0, 2.0}
    assert (rows[:, 4:] - rows[:, 2:4] >= 6.4).all()
    with pytest.raises(SystemExit):
        step(gate)
    assert calls == [True] * 2
    assert not torch.distributed.is_initialized()


def test_growth__one_process_of_as_many_threads_as_asked(monkeypatch):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    seen = []

    def train(self, gate):
        seen.append(torch.get_num_threads())

    monkeypatch.setattr(NoiseStep, 'train', train)
    try:
        for step in (NoiseStep('x'), NoiseStep('x', threads=1)):
            step(lambda: None)
    finally:
        torch.set_num_threads(before)
    assert seen == [2, 1]
    assert str(step) == '8 x 224 px, 6 classes, 1 processes, 1 threads'


def test_costs__of_yolov8_n():
    """Ultralytics' count for 6 classes, without the 16 of its constant DFL
    kernel; its 8.1 GFLOPs at 640 px."""
    costs = count_costs(str(YOLOV8), 640)
    assert costs['parameters'] == 3_012_018 - 16
    assert costs['gflops'] == pytest.approx(8.1, abs=0.05)


def test_costs__without_the_auxiliary_branch():
    costs = count_costs(str(OURS), 64)
    config = load_config(str(OURS), {})
    init_default_scope('mmdet')
    parameters = MODELS.build(config.model).named_parameters()
    used = [x for name, x in parameters if '.aux_' not in name]
    assert costs['parameters'] == sum(x.numel() for x in used)


def test_official_twin__boxes_of_each_image_go_through_nms(monkeypatch):
    """Of 4 + 6 numbers at 3 x (28^2 + 14^2 + 7^2) / 3 = 1,029 places."""
    require_peer(find_official(), 'yolo9')
    from utils import general

    seen = []
    nms = general.non_max_suppression

    def spy(boxes, **options):
        found = nms(boxes, **options)
        seen.append((tuple(boxes.shape), len(found)))
        return found

    monkeypatch.setattr(general, 'non_max_suppression', spy)
    with pytest.raises(SystemExit):
        official_twin(str(OURS), 3)(stop_at_once)
    assert seen == [((3, 4 + 6, 1029), 3)]


def test_official_twin__of_another_network():
    with pytest.raises(InputError, match='is YOLOv8CSPDarknet, which'):
        official_twin(str(YOLOV8), 1)


def test_deployed__is_what_predict_runs():
    """One fused convolution for each of the network's 185."""
    models = []

    class Watched(InferDeployed):
        def prepare(self, model):
            models.append(model)
            return super().prepare(model)

    with pytest.raises(SystemExit):
        Watched(str(OURS), 1, bf16=False)(stop_at_once)
    modules = [*models[0].modules()]
    assert sum(type(x).__name__ == 'FusedConv' for x in modules) == 185


def stop_at_once():
    raise SystemExit
