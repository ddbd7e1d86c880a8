"""study.py: a queue of real runs, and tables of records."""

import fcntl
import functools
import json
import os
import re
import runpy
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import yaml
from mmengine.config import Config
from report_files import audit
from tiny_run import call_script, write_config

from dsym.errors import InputError
from dsym.visualization.report.inputs import read_results

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / 'tools'))

from studies import resume  # noqa: E402
from studies.plan import load_study  # noqa: E402
from studies.record import (  # noqa: E402
    epoch_losses,
    split_of,
    write_record,
)

STUDY = ROOT / 'tools' / 'study.py'


@pytest.fixture
def call(tmp_path, monkeypatch):
    """Call the tool in ``tmp_path``; its trainings have one thread."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    return functools.partial(call_script, STUDY)


def write_study(folder, **changes):
    """A study of one run of three epochs, each of them saved."""
    run = dict(
        name='tiny',
        config=str(write_config(folder, ROOT / 'configs')),
        seeds=[3],
        options={
            'train_cfg.max_epochs': 3,
            'train_cfg.val_interval': 3,
            'default_hooks.checkpoint.interval': 1,
        },
    )
    run.update(changes)
    study = dict(
        results=str(folder / 'results'),
        tests=dict(held_out={'test_dataloader.dataset.seed': 1}),
        runs=[run],
    )
    path = folder / 'study.yaml'
    path.write_text(yaml.safe_dump(study))
    return path


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
    assert changed.returncode == 2
    assert 'the test held_out was made with' in changed.stderr
    assert len(changed.stderr.strip().splitlines()) == 1

    path = write_study(tmp_path, options={'train_cfg.max_epochs': 4})
    changed = call('run', path)
    assert changed.returncode == 2
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


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(config='nothing.py'), 'there is no config'),
        (dict(sedes=[1]), "unknown key 'sedes'"),
        (dict(trainer='mine'), "trainer 'mine' must be one of"),
        (dict(minutes=0), 'minutes 0: give more than 0'),
        (dict(seeds=[1, 1]), 'two runs are called tiny_seed1'),
    ],
)
def test_mistakes(tmp_path, changes, message):
    path = write_study(tmp_path, **changes)
    with pytest.raises(InputError, match=re.escape(message)):
        load_study(path, tmp_path, tmp_path)


def test_budget_of_minutes__ends_training_and_is_recorded(tmp_path, call):
    """Two epochs of 4 steps are planned; one step takes longer than that."""
    options = {
        'train_cfg.max_epochs': 2,
        'default_hooks.checkpoint.interval': 1,
    }
    path = write_study(tmp_path, options=options, minutes=1e-6)
    done = call('run', path)
    assert done.returncode == 0, done.stdout + done.stderr
    record = json.loads((tmp_path / 'results/tiny_seed3.json').read_text())
    assert record['steps'] == 1
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


def test_table__mean_and_sample_deviation(tmp_path, call):
    paths = []
    for seed, value in ((0, 0.70), (1, 0.72), (2, 0.74)):
        scores = dict.fromkeys(
            ('mAP_50', 'mAP', 'precision', 'recall', 'f1'), value
        )
        for key in ('AP50', 'AP', 'precision', 'recall', 'f1'):
            scores[f'scratches_{key}'] = value
        scores['scratches_yolo_AP50'] = 0.1
        record = dict(
            name='t', seed=seed, minutes=30 + seed, metrics=dict(test=scores)
        )
        paths.append(tmp_path / f'{seed}.json')
        paths[-1].write_text(json.dumps(record))
    lines = call('table', *paths, '--classes').stdout
    lines = lines.splitlines()
    # the sample's deviation of 70, 72, 74 is 2
    assert lines[2] == (
        '| t | test | 0, 1, 2 | 31 | 72.0 ± 2.0 | 72.0 ± 2.0 | 72.0 ± 2.0 '
        '| 72.0 ± 2.0 | 72.0 ± 2.0 |'
    )
    assert [line for line in lines if line.startswith('| scratches')] == [
        '| scratches' + ' | 72.0 ± 2.0' * 5 + ' |'
    ]


def test_table__files_that_are_no_records_are_left_out(tmp_path, call):
    keys = ('mAP_50', 'mAP', 'precision', 'recall', 'f1')
    contents = dict(
        t_seed0=dict(
            name='t',
            seed=0,
            minutes=30,
            metrics=dict(test=dict.fromkeys(keys, 0.5)),
        ),
        t_seed0_audit=[dict(epoch=1)],
        packaged=dict(metrics=dict(test=dict(mAP_50=0.5))),
    )
    paths = [tmp_path / f'{name}.json' for name in contents]
    for path, content in zip(paths, contents.values()):
        path.write_text(json.dumps(content))
    done = call('table', *paths)
    assert done.returncode == 0
    assert done.stdout.splitlines()[2:] == [
        '| t | test | 0 | 30 | 50.0 | 50.0 | 50.0 | 50.0 | 50.0 |'
    ]
    assert done.stderr.splitlines() == [
        f'{path}: no record, left out' for path in paths[1:]
    ]
    none = call('table', *paths[1:])
    assert none.returncode == 2
    assert 'none of these files is a record' in none.stderr


def test_record__of_pseudo_labels_has_an_audit_beside_it(tmp_path):
    """Which the report reads; of a run that was evaluated by nobody."""
    content = audit(['a'])
    run = load_study(write_study(tmp_path, tests={}), tmp_path, tmp_path)[0]
    run.work_dir.mkdir(parents=True)
    (run.work_dir / 'pseudo_labels.json').write_text(json.dumps(content))
    (run.work_dir / 'official.json').write_text(
        json.dumps(dict(epochs=1, steps=2, minutes=3.0))
    )
    write_record(run._replace(trainer='official'), {})
    assert run.record.is_file()
    assert read_results(run.results).audits == {'tiny_seed3': content}


def test_hash_is_the_same_on_another_machine(tmp_path, monkeypatch):
    """Nested data sets' places and workers too; other overrides change it."""
    digests = {}
    for place, cores, seed in (('a', 8, 3), ('b', 2, 3), ('b', 2, 4)):
        path = write_study(
            tmp_path,
            config=str(
                ROOT / 'configs/baselines/'
                'soft-teacher_faster-rcnn-r50_1xb16-4.2k_neu-det-semi20.py'
            ),
            options={},
            seeds=[seed],
        )
        monkeypatch.setenv('NEU_DET_ROOT', f'/{place}')
        monkeypatch.setattr(
            'dsym.engine.cpu_threads_hook.usable_cores', lambda n=cores: n
        )
        run = load_study(path, path.parent, path.parent)[0]
        digests[place, seed] = run.hash()
    assert digests['a', 3] == digests['b', 3] != digests['b', 4]


def test_hash_is_the_same_in_another_checkout(tmp_path):
    """A gate of synthetic images names its detector's config by its place."""
    digests = set()
    for root in (ROOT, tmp_path / 'other'):
        path = root / 'tools' / 'studies' / 'plan.py'
        if root != ROOT:
            path.parent.mkdir(parents=True)
            path.write_text((ROOT / 'tools/studies/plan.py').read_text())
            (root / 'configs').symlink_to(ROOT / 'configs')
        plan = runpy.run_path(str(path))
        config = 'configs/dsym/yolov9-t-diffusion_1xb16-200e_neu-det-labeled20'
        study = write_study(tmp_path, config=f'{config}.py', options={})
        (run,) = plan['load_study'](study, root, tmp_path)
        assert str(root) in str(run.load_config().train_dataloader)
        digests.add(run.hash())
    assert len(digests) == 1


@pytest.mark.parametrize(
    'path', sorted((ROOT / 'configs/studies').glob('*.yaml')), ids=str
)
def test_studies_of_the_project(path, tmp_path):
    """Every run's config loads, and its overrides name keys that are there."""

    def leaf(config, key):
        for part in key.split('.'):
            config = config[int(part) if part.isdigit() else part]
        return config

    for run in load_study(path, ROOT, tmp_path):
        plain = Config.fromfile(run.config)
        for options in (run.options, *run.tests.values()):
            for key in options:
                leaf(plain, key)  # raises for a key that is not there
        assert len(run.hash()) == 12


def test_losses__of_epochs_or_of_lines():
    """A loop that counts steps logs no epochs."""
    rows = [dict(step=i, loss=5.0 - i) for i in range(1, 5)]
    assert epoch_losses(rows) == [4.0, 3.0, 2.0, 1.0]
    for row in rows:
        row['epoch'] = 1 + (row['step'] > 2)
    assert epoch_losses(rows) == [3.0, 1.0]


def test_split__of_wrapped_data_sets():
    dev = dict(type='NEUDETDataset', split='dev')
    folder = dict(type='DefectVOCDataset')
    painted = dict(type='DiffusionAugment', dataset=dict(dev, split='train'))
    assert split_of(dev) == 'dev'
    assert split_of(folder) is None
    assert split_of(painted) == 'train'
    both = dict(type='ConcatDataset', datasets=[dev, painted, folder])
    assert split_of(both) == 'dev + train'


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
    newest_progress = runpy.run_path(str(STUDY))['newest_progress']
    assert newest_progress(before + progress + after) == progress


def test_watch__shows_what_is_new_in_the_log(tmp_path, capsys):
    log = tmp_path / 'train.log'
    log.write_text('Epoch(train) [9][1/9] eta: 0:00:09\n')  # of a run before
    line = 'Epoch(train) [1][1/9] eta: 0:10:00'
    code = (
        f'import time; print("x" * 70000, flush=True); print({line!r}, '
        'flush=True); time.sleep(1); raise SystemExit(3)'
    )
    watch = runpy.run_path(str(STUDY))['watch']
    with log.open('a') as out:
        process = subprocess.Popen([sys.executable, '-c', code], stdout=out)
    assert watch(process, log, 'one_seed0', 0.2) == 3
    assert capsys.readouterr().out == f'[study] one_seed0: {line}\n'
