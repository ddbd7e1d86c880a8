"""What the suites compare, their figures, and the command's exit status."""

import argparse
import itertools
import json
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from turn_contenders import not_installed

sys.path.insert(0, str(Path(__file__).parents[2] / 'tools'))

import benchmark
from benchmarks import comparison, drawing, growth, short, suites
from benchmarks.alternation import Turns, alternate, ratios
from benchmarks.drawing import Draw, passes
from benchmarks.suites import OURS, SEMI, SUITES, YOLOV8

from dsym.datasets import PermutedSampler
from dsym.provenance import describe_machine


class Recorder:
    """Stands for ``compare``: contenders take the seconds that it is given.

    Args:
        seconds (dict): Of each round, by contender; others take 1.
    """

    def __init__(self, seconds=()):
        self.seconds = dict(seconds)
        self.images = {}

    def __call__(self, title, contenders, images, args, **turns):
        turns = {
            name: Turns(self.seconds.get(name, [1.0]), 100.0)
            for name in contenders
        }
        if isinstance(images, int):
            images = dict.fromkeys(contenders, images)
        self.images.update(images)
        ours = next(iter(turns.values()))
        return {
            name: dict(
                images_per_second=images[name] / min(turn.seconds),
                seconds=turn.seconds,
                peak_mib=turn.peak_mib,
                **{f'ours_{k}': v for k, v in ratios(ours, turn).items()},
            )
            for name, turn in turns.items()
        }


@pytest.fixture
def args():
    return argparse.Namespace(
        config=str(OURS), yolov8=str(YOLOV8), rounds=5, steps=8, only=None
    )


def test_compare__images_and_rounds_of_each(args, monkeypatch):
    turns = dict(
        ours=Turns([2.0, 4.0], 300.0),
        one=Turns([4.0, 4.0], 100.0),
        other=Turns([1.0, 8.0], 200.0),
    )
    monkeypatch.setattr(comparison, 'alternate', lambda *_, **__: turns)
    images = dict(ours=32, one=16, other=16)
    steps = dict(ours=20, one=1, other=1)
    rows = comparison.compare(
        'title', turns, images, args, rounds=2, steps=steps
    )
    found = {name: row['images_per_second'] for name, row in rows.items()}
    assert found == dict(ours=16, one=4, other=16)
    assert rows['one']['seconds'] == [4, 4]
    assert rows['one']['rounds'] == 2
    assert [row['steps'] for row in rows.values()] == [20, 1, 1]
    assert rows['one']['ours_speed_up'] == 1.5  # of 2 and 1
    # 1/4 and 2; inclusive quartiles
    assert comparison.paired(rows['one'], rows['other']) == dict(
        speed_up=1.125, low=0.6875, high=1.5625, memory=0.5
    )


def test_all__every_suite_within_ten_minutes(args, monkeypatch):
    monkeypatch.setattr(short, 'compare', Recorder())
    rows = dict(short.short(args))
    assert {name.split('/')[0] for name in rows} == {*SUITES}
    assert all(len(contenders) == 2 for contenders in rows.values())
    assert sum(x.seconds for x in short.plan(args).values()) <= 600


def test_semi__images_of_each_part(args, monkeypatch):
    """Those of the config's loaders that a part sees."""
    config = Config.fromfile(SEMI)
    labeled = config.train_dataloader.batch_size
    unlabeled = config.train_cfg.unlabeled_dataloader.batch_size
    recorder = Recorder()
    monkeypatch.setattr(suites, 'compare', recorder)
    list(suites.semi(args))
    assert recorder.images == {
        'semi': labeled + unlabeled,
        'supervised': labeled,
        'teacher': unlabeled,
        'student': unlabeled,
        'supervised, all images': labeled + unlabeled,
    }


def test_scan__over_the_reference_round_by_round(args, monkeypatch):
    """10 and 30 times: the best times of both would say 10."""
    seconds = {'C++': [1.0, 2.0], 'mamba-ssm reference': [10.0, 60.0]}
    monkeypatch.setattr(suites, 'compare', Recorder(seconds))
    args.only = 'reference'
    for _, rows in suites.scan(args):
        row = rows['C++']
        assert row['over_reference'] == 20
        assert row['over_reference_low'] == 15
        assert row['over_reference_high'] == 25


def test_scan__times_of_the_longer_limit(args, monkeypatch):
    """2 and 3 times the exponentials, which take longer than the copy."""
    seconds = {
        'C++': [2.0, 6.0],
        'its bytes, copied': [0.5, 0.5],
        'its exponentials': [1.0, 2.0],
    }
    monkeypatch.setattr(suites, 'compare', Recorder(seconds))
    args.only = 'bound'
    found = dict(suites.scan(args))
    assert [*found] == [f'bound_{shape.name}' for shape in suites.SCANS]
    rows = found['bound_B16_D64_L784']
    assert rows['C++']['longer_limit'] == 'its exponentials'
    assert rows['C++']['times_the_longer_limit'] == 2.5
    assert rows['C++']['times_the_longer_limit_low'] == 2.25
    assert rows['C++']['times_the_longer_limit_high'] == 2.75
    # one a token, channel and state, in the best second
    rate = rows['its exponentials']['exponentials_per_second']
    assert rate == 16 * 784 * 64 * 16
    # u, delta, y of 64 channels, B and C of 16 states, in half a second
    rate = rows['its bytes, copied']['gigabytes_per_second']
    assert rate == pytest.approx(16 * 784 * (3 * 64 + 2 * 16) * 4 * 2e-9)


def test_head__at_both_sizes(args, monkeypatch):
    monkeypatch.setattr(suites, 'compare', Recorder())
    args.only = 'infer'
    assert [name for name, _ in suites.head(args)] == [
        'infer_1', 'infer_1_224',
    ]  # fmt: skip


def test_growth__steps_alone(args, monkeypatch):
    monkeypatch.setattr(growth, 'compare', Recorder())
    args.only = 'train'
    names = [name for name, _ in SUITES['growth'](args)]
    assert names == ['size', 'batch', 'classes', 'processes']


def test_growth__microseconds_of_a_sample(args, monkeypatch):
    """1,000 samples in 20, 30 and 70 ms."""
    seconds = {'1,000,000 listed images': [0.02, 0.03, 0.07]}
    monkeypatch.setattr(drawing, 'compare', Recorder(seconds))
    args.only = 'paths'
    ((name, rows),) = SUITES['growth'](args)
    assert name == 'paths'
    assert [int(x.split()[0].replace(',', '')) for x in rows] == [
        10**3, 10**4, 10**5, 10**6,
    ]  # fmt: skip
    row = rows['1,000,000 listed images']
    assert row['microseconds'] == pytest.approx(30)


def test_draw__a_pass_after_the_other(monkeypatch):
    indices = passes(PermutedSampler(range(100), seed=0))
    first, second = (list(itertools.islice(indices, 100)) for _ in 'ab')
    assert sorted(first) == sorted(second) == [*range(100)]
    assert first != second


def test_draw__steps_of_a_thousand_samples(monkeypatch):
    asked = []
    info = drawing.StreamedImageDataset.get_data_info

    def watched(data, index):
        asked.append(info(data, index))
        return asked[-1]

    def gate():
        if len(asked) == 2000:
            raise SystemExit

    monkeypatch.setattr(drawing.StreamedImageDataset, 'get_data_info', watched)
    with pytest.raises(SystemExit):
        Draw(500)(gate)
    names = {f'/a/folder/of/many/images/{i:09d}.png' for i in range(500)}
    assert {x['img_path'] for x in asked[:500]} == names


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Run the command with a suite whose ratio is 1.5; its exit status."""
    rows = {'ours': dict(ours_speed_up=1.0), 'peer': dict(ours_speed_up=1.5)}

    def stub(args):
        yield 'stub/train', rows

    def run(baseline, *options):
        path = tmp_path / 'baseline.json'
        path.write_text(baseline)
        out = tmp_path / 'out.json'
        monkeypatch.setattr(benchmark, 'BENCHMARKS', dict(stub=stub))
        monkeypatch.setattr(
            sys,
            'argv',
            ['benchmark.py', 'stub', '--json', str(out)]
            + ['--compare', str(path), *options],
        )
        with pytest.raises(SystemExit) as end:
            benchmark.main()
        if out.exists():
            assert json.loads(out.read_text())['results'] == {
                'stub/train': rows
            }
        return end.value.code

    return run


def baseline(ratio, threads=None, what='stub', **machine):
    machine = {**describe_machine(), **machine}
    rows = {
        'ours': dict(ours_speed_up=1.0),
        'peer': dict(ours_speed_up=ratio),
    }
    report = dict(
        benchmark=what,
        machine=machine,
        threads=threads or torch.get_num_threads(),
        results={'stub/train': rows},
    )
    return json.dumps([report])


def test_main__equal(run, capsys):
    assert run(baseline(1.5)) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.split() == ['stub/train,', 'peer', '1.50x', '1.50x']


def test_main__fallen_by_more_than_a_quarter(run, capsys):
    assert run(baseline(2.1)) == 1
    lines = capsys.readouterr().out.splitlines()
    assert 'ratios may fall by 25% of the baseline' in lines
    assert lines[-1].split() == [
        'stub/train,', 'peer', '2.10x', '1.50x', 'FELL',
    ]  # fmt: skip


@pytest.mark.parametrize(
    'other', [dict(features=['other']), dict(cores=999), dict(threads=999)]
)
def test_main__another_kind_of_machine(run, capsys, other):
    assert run(baseline(9.0, **other)) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith('comparison left out: ')


def test_main__baseline_of_another_benchmark(run, capsys, tmp_path):
    assert run(baseline(1.5, what='all')) == 2
    assert not (tmp_path / 'out.json').exists()  # nothing was measured
    (line,) = capsys.readouterr().err.splitlines()
    assert 'has no report of stub' in line


@pytest.mark.parametrize(
    'content',
    ['', '{', '{"machine": {}}', '[{}]', '[1]', '"text"', 'null']
    + ['[{"machine": {"features": []}, "threads": 2, "results": {}}]']
    + [
        '[{"machine": {"features": [], "cores": 2}, "threads": 2, '
        '"results": []}]'
    ],
)
def test_main__malformed_baseline(run, capsys, tmp_path, content):
    assert run(content) == 2
    assert not (tmp_path / 'out.json').exists()  # nothing was measured
    (line,) = capsys.readouterr().err.splitlines()
    assert 'is no baseline: give a list of reports' in line


@pytest.mark.parametrize('tolerance', ['25', '1', '-0.1', 'nan'])
def test_tolerance__of_more_than_all_is_refused(
    monkeypatch, capsys, tolerance
):
    arguments = ['benchmark.py', 'all', f'--tolerance={tolerance}']
    monkeypatch.setattr(sys, 'argv', arguments)
    with pytest.raises(SystemExit) as end:
        benchmark.main()
    assert end.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert 'give a share from 0 to below 1' in line


def test_main__a_missing_peer_is_one_line_and_no_lost_ratio(
    monkeypatch, tmp_path, capsys
):
    def stub(args):
        yield 'first', {}
        alternate({'official': not_installed}, 1, 1, say=lambda text: None)

    out = tmp_path / 'out.json'
    monkeypatch.setattr(benchmark, 'BENCHMARKS', dict(stub=stub))
    monkeypatch.setattr(sys, 'argv', ['benchmark.py', 'stub', f'--out={out}'])
    with pytest.raises(SystemExit) as end:
        benchmark.main()
    assert end.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        'benchmark.py: error: official: the code is not installed: pip it'
    )
    report = json.loads(out.read_text())
    assert report['results'] == {'first': {}} and [*report['seconds']] == [
        'first'
    ]


@pytest.mark.parametrize(
    ('what', 'only', 'remedy'),
    [
        ('growth', 'infer', 'give train or paths'),
        ('scan', 'infer', 'give train or bound or reference'),
        ('semi', 'train', 'leave it out'),
        ('all', 'paths', 'leave it out'),
    ],
)
def test_only__of_another_suite_is_refused(
    monkeypatch, capsys, what, only, remedy
):
    monkeypatch.setattr(sys, 'argv', ['benchmark.py', what, '--only', only])
    with pytest.raises(SystemExit) as end:
        benchmark.main()
    assert end.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        f'benchmark.py: error: --only {only}: {what} has no such part: '
        f'{remedy}'
    )


def test_main__only_is_compared_with_what_it_measured(run, monkeypatch):
    monkeypatch.setattr(benchmark, 'ONLY', dict(stub=['train']))
    before = json.loads(baseline(1.5))
    (rows,) = before[0]['results'].values()
    before[0]['results']['stub/infer'] = rows
    assert run(json.dumps(before)) == 1
    assert run(json.dumps(before), '--only', 'train') == 0
    assert run(baseline(3.0), '--only', 'train') == 1


@pytest.mark.parametrize(('second', 'status'), [(1.9, 0), (1.1, 1)])
def test_main__what_fell_is_measured_again(
    monkeypatch, tmp_path, capsys, second, status
):
    def rows(ratio):
        return {
            'ours': dict(ours_speed_up=1.0),
            'peer': dict(ours_speed_up=ratio),
        }

    asked = []

    def short(args, only=None):
        asked.append(only)
        if only is None:
            yield 'kept/train', rows(2.0)
        yield 'stub/train', rows(1.0 if only is None else second)

    before = json.loads(baseline(2.0, what='all'))
    before[0]['results']['kept/train'] = rows(2.0)
    path, out = tmp_path / 'baseline.json', tmp_path / 'out.json'
    path.write_text(json.dumps(before))
    monkeypatch.setattr(benchmark, 'short', short)
    monkeypatch.setattr(benchmark, 'BENCHMARKS', dict(all=short))
    arguments = ['all', '--json', str(out), '--compare', str(path)]
    monkeypatch.setattr(sys, 'argv', ['benchmark.py', *arguments])
    with pytest.raises(SystemExit) as end:
        benchmark.main()
    assert end.value.code == status
    assert asked == [None, ['stub/train']]
    results = json.loads(out.read_text())['results']
    assert results == {'kept/train': rows(2.0), 'stub/train': rows(second)}
    assert 'measured again: stub/train' in capsys.readouterr().out
