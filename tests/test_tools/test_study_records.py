"""Records of runs, and tables of them."""

import functools
import json
import math
import sys
from pathlib import Path

import pytest
import torch
from report_files import audit
from study_files import write_study
from tiny_run import call_script

from dsym.errors import InputError
from dsym.evaluation.study_records import group_records
from dsym.visualization.report.inputs import read_results

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / 'tools'))

from json_file import write_json  # noqa: E402
from studies.plan import load_study  # noqa: E402
from studies.record import (  # noqa: E402
    epoch_losses,
    evaluation_figures,
    split_of,
    training_figures,
    write_record,
)
from study import Worker  # noqa: E402

call = functools.partial(call_script, ROOT / 'tools' / 'study.py')


def test_table__mean_and_sample_deviation(tmp_path):
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


def test_table__files_that_are_no_records_are_left_out(tmp_path):
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
    gone = call('table', paths[0], tmp_path / 'gone.json')
    assert gone.returncode == 2
    (line,) = gone.stderr.splitlines()
    assert 'gone.json does not exist: give records' in line


def test_table__figures_and_classes_that_not_all_seeds_have(tmp_path):
    """-1 stands for no truth: neither a score nor a part of a mean."""
    keys = ('AP50', 'AP', 'precision', 'recall', 'f1')
    paths = []
    for seed, (cls, value) in enumerate([('a', -1), ('b', 0.5), ('b', 0.7)]):
        scores = dict.fromkeys(('mAP_50', 'precision', 'recall'), value)
        scores.update(mAP=-1, f1=0.0)
        scores.update({f'{cls}_{key}': abs(value) for key in keys})
        metrics = dict(dev=scores)
        paths.append(recorded(tmp_path / 'x', seed=seed, metrics=metrics))
    lines = call('table', *paths, '--classes').stdout.splitlines()
    both = '60.0 ± 14.1'
    assert lines[2] == (
        f'| plain | dev | 0, 1, 2 | 30 | {both} | - | {both} | {both} '
        '| 0.0 ± 0.0 |'
    )
    assert lines[-2:] == [
        '| a' + ' | 100.0' * 5 + ' |',
        '| b' + f' | {both}' * 5 + ' |',
    ]


def recorded(folder, name='plain', seed=0, **content):
    """Write a record."""
    keys = ('mAP_50', 'mAP', 'precision', 'recall', 'f1')
    record = dict(
        dict(
            name=name,
            seed=seed,
            minutes=30,
            metrics=dict(dev=dict.fromkeys(keys, 0.5)),
        ),
        **content,
    )
    folder.mkdir(exist_ok=True)
    path = folder / f'{len(list(folder.iterdir()))}.json'
    path.write_text(json.dumps(record))
    return path


def test_table__same_seed_twice_is_refused_in_one_line(tmp_path):
    path = recorded(tmp_path / 'a')
    done = call('table', path, path)
    assert done.returncode == 2
    (line,) = done.stderr.strip().splitlines()
    assert 'plain has seed 0 twice on dev' in line


def test_table__one_name_in_two_studies_is_two_rows(tmp_path):
    one, other = tmp_path / 'one', tmp_path / 'other'
    paths = [recorded(x, seed=y) for x in (one, other) for y in (0, 1)]
    lines = call('table', *paths).stdout.splitlines()[2:]
    assert [line.split(' | ')[:3] for line in lines] == [
        [f'| plain ({one})', 'dev', '0, 1'],
        [f'| plain ({other})', 'dev', '0, 1'],
    ]


def test_groups__have_one_config_and_its_options():
    scores = dict(metrics=dict(dev={}))
    short, long = ({'train_cfg.max_epochs': x} for x in (20, 60))
    records = [
        dict(scores, name='b', config='x', seed=0),
        dict(scores, name='a', config='x', options=short, seed=0),
        dict(scores, name='a', config='x', options=long, seed=0),
        dict(scores, name='a', config='x', options=long, seed=1),
    ]
    assert {
        name: len(x) for (name, _), x in group_records(records).items()
    } == {
        'b': 1,
        'a (x, train_cfg.max_epochs=20)': 1,
        'a (x, train_cfg.max_epochs=60)': 2,
    }
    with pytest.raises(InputError, match='b has seed 0 twice on dev'):
        group_records([records[0], records[0]])


def test_groups__have_each_seed_that_began_with_its_own():
    """However the study wrote it; and all that began with one of them."""

    def began(seed, with_):
        options = dict(load_from=f'{with_}/epoch_9.pth')
        metrics = dict(dev={})
        return dict(name='a', seed=seed, options=options, metrics=metrics)

    own = [began(0, 'x_seed{seed}'), began(2, 'x_seed2'), began(3, 'x_seed3')]
    one = [began(seed, 'x_seed0') for seed in (0, 1)]
    for records in (own, one):
        assert group_records(records) == {('a', 'dev'): records}
    # of 20, 2 is no part
    other = began(2, 'x_seed20')
    assert len(group_records([own[0], other])) == 2


def test_figures__of_a_training_that_logged_no_step(tmp_path):
    """With a budget the checkpoint has the minutes, else nothing has."""
    run = load_study(write_study(tmp_path), tmp_path, tmp_path)[0]
    run.work_dir.mkdir(parents=True)
    state = dict(meta=dict(iter=3, epoch=1))
    budget = dict(minutes=2.0, spent=2.14, planned_steps=8)
    path = run.work_dir / 'epoch_1.pth'
    torch.save(dict(state, minutes_budget=budget), path)
    figures = training_figures(run)
    assert (figures['epochs'], figures['steps']) == (1, 3)
    assert (figures['minutes'], figures['losses']) == (2.1, [])
    torch.save(state, path)
    with pytest.raises(InputError, match='none of its 3 steps'):
        training_figures(run)


def test_figures__are_of_the_steps_that_the_checkpoint_has(tmp_path):
    """Killed at 60 of them, it went on from 30 and ended with its minutes."""
    run = load_study(write_study(tmp_path), tmp_path, tmp_path)[0]
    for day, steps, loss in ((1, (20, 40, 60), 9.0), (2, (40, 44), 5.0)):
        folder = run.work_dir / f'2026010{day}_000000' / 'vis_data'
        folder.mkdir(parents=True)
        rows = [
            dict(loss=loss, time=1.0, step=x, epoch=1 + x // 20) for x in steps
        ]
        (folder / 'scalars.json').write_text('\n'.join(map(json.dumps, rows)))
    torch.save(dict(meta=dict(iter=42, epoch=3)), run.work_dir / 'iter_42.pth')
    figures = training_figures(run)
    # 44 was logged and lost
    assert figures['losses'] == [9.0, 5.0]
    assert (figures['epochs'], figures['steps']) == (3, 42)


def test_figures__of_a_training_that_diverged(tmp_path):
    """Its config may have no FiniteLossHook; NaN is how JSON lines say it."""
    run = load_study(write_study(tmp_path), tmp_path, tmp_path)[0]
    folder = run.work_dir / '20260101_000000' / 'vis_data'
    folder.mkdir(parents=True)
    rows = [dict(loss=x, time=1.0, step=1, epoch=1) for x in (9.0, math.nan)]
    (folder / 'scalars.json').write_text('\n'.join(map(json.dumps, rows)))
    torch.save(dict(meta=dict(iter=2, epoch=1)), run.work_dir / 'epoch_1.pth')
    with pytest.raises(InputError, match='its last loss is nan'):
        training_figures(run)


def test_json__has_null_for_what_json_lacks(tmp_path):
    path = tmp_path / 'a.json'
    write_json(path, dict(losses=[1.0, math.nan, math.inf]))
    assert json.loads(path.read_text()) == dict(losses=[1.0, None, None])


def test_json__is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    """After a power failure a record is whole or not there."""
    path, seen = tmp_path / 'a.json', []
    monkeypatch.setattr(
        'json_file.os.fsync', lambda file: seen.append(path.exists())
    )
    write_json(path, {})
    assert seen == [False] and path.exists()


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


def test_record__keeps_tests_that_the_study_no_longer_names(tmp_path):
    """Of the same config; what another one left is none of its own."""

    def tested(name, score):
        path = write_study(tmp_path, tests={name: {}})
        run = load_study(path, tmp_path, tmp_path)[0]
        folder = run.work_dir / f'test_{name}' / '20260101_000000'
        folder.mkdir(parents=True)
        figures = json.dumps({'defect/mAP_50': score})
        (folder / '20260101_000000.json').write_text(figures)
        plan = dict(epochs=1, steps=2, minutes=3.0)
        (run.work_dir / 'official.json').write_text(json.dumps(plan))
        return run._replace(trainer='official')

    dev, paper = tested('dev', 0.5), tested('paper', 0.25)
    write_record(dev, dict(config_hash='a'))
    write_record(paper, dict(config_hash='a'))
    record = json.loads(paper.record.read_text())
    assert record['tests'] == dict(dev={}, paper={})
    assert record['metrics'] == dict(
        dev=dict(mAP_50=0.5), paper=dict(mAP_50=0.25)
    )
    write_record(dev, dict(config_hash='b'))
    assert [*json.loads(dev.record.read_text())['metrics']] == ['dev']


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


@pytest.mark.parametrize('key', ['mine/mAP_50', 'defect/mAP_50'])
def test_figures__of_the_metric_whatever_its_prefix(tmp_path, key):
    folder = tmp_path / '20260101_000000'
    folder.mkdir()
    prefix = key.split('/')[0]
    scores = {'coco/bbox_mAP': 0.1, key: 0.5, f'{prefix}/a/b_AP': 0.25}
    (folder / '20260101_000000.json').write_text(json.dumps(scores))
    assert evaluation_figures(tmp_path) == {'mAP_50': 0.5, 'a/b_AP': 0.25}


def test_figures__of_another_metric(tmp_path):
    folder = tmp_path / '20260101_000000'
    folder.mkdir()
    scores = json.dumps({'coco/bbox_mAP': 0.1})
    (folder / '20260101_000000.json').write_text(scores)
    with pytest.raises(InputError, match='no figures of DefectMetric: set'):
        evaluation_figures(tmp_path)


def test_record__of_another_training_of_this_config(tmp_path):
    """Such as one of another machine: its figures are not mixed with ours."""
    path = write_study(tmp_path, tests={'dev': {}})
    (run,) = load_study(path, tmp_path, tmp_path)
    started = dict(config_hash=run.hash(), commit='c', training='a', lists={})
    run.work_dir.mkdir(parents=True)
    write_json(run.work_dir / 'started.json', started)
    theirs = dict(started, training='b', metrics={})
    run.record.parent.mkdir(parents=True, exist_ok=True)
    write_json(run.record, theirs)
    with pytest.raises(InputError, match='is of another training than'):
        Worker(run, 0).work()
    assert json.loads(run.record.read_text()) == theirs
