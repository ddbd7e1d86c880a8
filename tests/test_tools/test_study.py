"""study.py: a queue of runs."""

import fcntl
import functools
import importlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from study_files import write_study
from tiny_run import call_script

from dsym.errors import InputError

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / 'tools'))

from studies import resume  # noqa: E402
from studies.plan import load_study  # noqa: E402
from studies.progress import newest_progress, watch  # noqa: E402

STUDY = ROOT / 'tools' / 'study.py'


@pytest.fixture
def call(tmp_path, monkeypatch):
    """Call the tool in ``tmp_path``; its trainings have one thread."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    return functools.partial(call_script, STUDY)


def test_killed_study_goes_on_and_recorded_run_is_skipped(tmp_path, call):
    path = write_study(tmp_path)
    command = [sys.executable, str(STUDY), 'run', str(path)]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, process_group=0
    )
    work = tmp_path / 'work_dirs' / 'studies' / 'study' / 'tiny_seed3'
    deadline = time.monotonic() + 240
    while not (work / 'last_checkpoint').exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.1)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert 'begun' in call('status', path).stdout
    # as if the kill had come while a checkpoint and its name were written
    (work / 'last_checkpoint').write_text('')
    whole = (work / 'epoch_1.pth').read_bytes()
    (work / 'epoch_99.pth').write_bytes(whole[: len(whole) // 2])

    done = call('run', path)
    assert done.returncode == 0, done.stdout + done.stderr
    log = (work / 'train.log').read_text()
    assert re.search('resumed epoch: [1-3]', log)
    record = json.loads((tmp_path / 'results/tiny_seed3.json').read_text())
    # 8 images in batches of 2, 3 epochs
    assert (record['epochs'], record['steps'], record['seed']) == (3, 12, 3)
    assert len(record['losses']) == 3
    assert record['name'] == 'tiny' and record['trainer'] == 'dsym'
    assert 0 <= record['metrics']['held_out']['mAP_50'] <= 1
    assert record['machine']['cores'] == os.cpu_count()
    assert record['tests'] == {'held_out': {'test_dataloader.dataset.seed': 1}}

    begin = time.monotonic()
    again = call('run', path)
    assert 'done before' in again.stdout
    assert time.monotonic() - begin < 60
    assert (work / 'train.log').read_text() == log

    # the same name for another evaluation
    tests = dict(held_out={'test_dataloader.dataset.seed': 2})
    changed = call('run', write_study(tmp_path, tests=tests))
    assert changed.returncode == 1
    assert 'the test held_out was made with' in changed.stderr
    assert len(changed.stderr.strip().splitlines()) == 1

    path = write_study(tmp_path, options={'train_cfg.max_epochs': 4})
    changed = call('run', path)
    assert changed.returncode == 1
    assert 'is of another config' in changed.stderr
    assert len(changed.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(('held', 'expected'), [(0.3, True), (3, False)])
def test_lock_of_a_killed_training__is_waited_for(
    tmp_path, monkeypatch, held, expected
):
    monkeypatch.setattr(resume, 'LETTING_GO', 1)
    path = tmp_path / 'lock'
    with path.open('w') as theirs, path.open('w') as ours:
        fcntl.flock(theirs, fcntl.LOCK_EX)
        gone = threading.Timer(held, fcntl.flock, (theirs, fcntl.LOCK_UN))
        gone.start()
        assert resume.locked(ours.fileno()) == expected
        gone.join()


@pytest.fixture
def worker(tmp_path, monkeypatch):
    """A worker that evaluates by noting with what; no process starts."""
    monkeypatch.syspath_prepend(str(ROOT / 'tools'))
    study = importlib.import_module('study')
    calls = []

    def make(**tests):
        path = write_study(tmp_path, tests=tests)
        run = load_study(path, tmp_path, tmp_path / 'work')[0]
        run.work_dir.mkdir(parents=True, exist_ok=True)
        (run.work_dir / '.train-done').touch()
        made = study.Worker(run, 0)
        monkeypatch.setattr(made, 'test', calls.append)
        return made

    monkeypatch.setattr(study, 'write_record', lambda *_: None)
    return make, calls


def test_finished_test__with_other_options_is_made_again(worker):
    """The kill came after an evaluation and before the record."""
    make, calls = worker
    options = {'test_dataloader.dataset.seed': 1}
    make(a=options).work()
    make(a=options).work()
    assert calls == ['a']
    changed = make(a={'test_dataloader.dataset.seed': 2})

    def killed(name):
        raise KeyboardInterrupt

    changed.test = killed
    with pytest.raises(KeyboardInterrupt):
        changed.work()
    # what was killed may have left figures: neither has a stamp now
    make(a=options).work()
    assert calls == ['a', 'a']


def test_new_test__of_a_run_whose_checkpoint_is_gone(worker):
    """Its folder is there; the stamp of its training too."""
    make, _ = worker
    made = make(a={})
    run, study = made.run, importlib.import_module('study')
    run.results.mkdir()
    record = dict(config_hash=run.hash(), tests={}, metrics={})
    run.record.write_text(json.dumps(record))
    with pytest.raises(InputError, match='has no test a and its checkpoint'):
        study.is_recorded(run)
    with pytest.raises(InputError, match='remove the folder to train again'):
        made.checkpoint()
    path = run.work_dir / 'epoch_3.pth'
    torch.save({}, path)
    assert not study.is_recorded(run)
    assert made.checkpoint() == str(path)


def test_run_that_fails__does_not_block_the_others(tmp_path, call):
    """One of another config, one whose record is damaged, one is done."""
    path = write_study(tmp_path, seeds=[1, 2, 3], tests={})
    runs = load_study(path, tmp_path, tmp_path / 'work_dirs' / 'studies')
    for run in runs:
        run.work_dir.mkdir(parents=True)
        (run.work_dir / '.train-done').touch()
        started = dict(config_hash=run.hash())
        (run.work_dir / 'started.json').write_text(json.dumps(started))
    (runs[0].work_dir / 'started.json').write_text('{"config_hash": "0"}')
    (runs[1].work_dir / 'started.json').write_text('{}')
    done = call('run', path)
    assert done.returncode == 1
    assert '3/3 tiny_seed3: done before' in done.stdout
    first, second = done.stderr.strip().splitlines()
    assert first.startswith('study.py: error: tiny_seed1: failed: ')
    assert 'is of another config' in first
    assert second.startswith('study.py: error: tiny_seed2: failed: ')
    assert 'has no config_hash' in second


def test_tool_that_fails__is_one_of_the_failures(tmp_path, call):
    options = {'train_dataloader.dataset.type': 'Nothing'}
    done = call('run', write_study(tmp_path, options=options, seeds=[1]))
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert 'tiny_seed1: failed: train.py ended with status' in line
    assert 'the same command goes on' in line


def test_budget_of_minutes__ends_training_and_is_recorded(tmp_path, call):
    """Two epochs of 4 steps are planned; one step takes longer than that."""
    options = {
        'train_cfg.max_epochs': 2,
        'default_hooks.checkpoint.interval': 1,
        # so none of its lines is logged
        'default_hooks.logger.interval': 20,
    }
    path = write_study(tmp_path, options=options, minutes=1e-6)
    done = call('run', path)
    assert done.returncode == 0, done.stdout + done.stderr
    record = json.loads((tmp_path / 'results/tiny_seed3.json').read_text())
    assert (record['steps'], record['epochs']) == (1, 1)
    assert record['losses'] == []
    assert record['budget'] == dict(
        minutes=1e-6, planned_steps=8, stopped=True
    )
    assert 0 <= record['metrics']['held_out']['mAP_50'] <= 1
    # another budget is another run
    path = write_study(tmp_path, options=options, minutes=2e-6)
    assert 'is of another config' in call('run', path).stderr


def test_mistake_is_one_line(tmp_path, call):
    path = write_study(tmp_path, config='nothing.py')
    done = call('run', path)
    assert done.returncode == 2
    assert 'there is no config' in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ('before', 'progress', 'after'),
    [
        ('- INFO - ', 'Epoch(train) [3][20/21]  eta: 0:12:01', '  time: 1.4'),
        ('- INFO - ', 'Epoch(test) [4/11] eta: 0:00:21', '\nInputs: 3/4'),
        ('- INFO - ', 'Iter(train) [ 20/400]  eta: 1:02:03', '  time: 9.1'),
        ('', 'epoch 6/120 loss 155.59 6.1 min, 116.0 min left', '\n'),
        (
            'painting:   0%| | 0/48 [00:00<?, ?it/s]\r',
            'painting:  25%|2 | 12/48 [00:10<00:30,  1.2it/s]',
            '',
        ),
    ],
)
def test_progress__of_every_kind_of_step(before, progress, after):
    assert newest_progress(before + progress + after) == progress


def test_watch__shows_what_is_new_in_the_log(tmp_path, capsys):
    log = tmp_path / 'train.log'
    log.write_text('Epoch(train) [9][1/9] eta: 0:00:09\n')  # of a run before
    line = 'Epoch(train) [1][1/9] eta: 0:10:00'
    code = (
        f'import time; print("x" * 70000, flush=True); print({line!r}, '
        'flush=True); time.sleep(1); raise SystemExit(3)'
    )
    with log.open('a') as out:
        process = subprocess.Popen([sys.executable, '-c', code], stdout=out)
    assert watch(process, log, 'one_seed0', 0.2) == 3
    assert capsys.readouterr().out == f'[study] one_seed0: {line}\n'
