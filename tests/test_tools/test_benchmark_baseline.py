"""Ratios beside a baseline: what fell, what is gone, what is new."""

import json
import sys
from argparse import Namespace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / 'tools'))

from benchmark import check_arguments, load_baseline
from benchmarks.baseline import (
    as_table,
    compare_with,
    of_the_same_kind,
    read_baseline,
    speed_ratios,
)


def report(features=(), threads=2, cores=2, **comparisons):
    results = {
        name: {
            'ours': dict(ours_speed_up=1.0, ours_low=1.0, ours_high=1.0),
            **{peer: dict(ours_speed_up=x) for peer, x in peers.items()},
            'added': 0.1,
        }
        for name, peers in comparisons.items()
    }
    machine = dict(features=[*features], cores=cores)
    return dict(machine=machine, threads=threads, results=results)


def test_speed_ratios__of_peers_alone():
    found = speed_ratios(report(train=dict(peer=1.5, other=0.5)))
    assert found == {'train, peer': 1.5, 'train, other': 0.5}


@pytest.mark.parametrize(
    'now, fell', [(1.51, False), (1.5, False), (1.49, True), (4.0, False)]
)
def test_compare__a_quarter_of_2_may_be_lost(now, fell):
    rows = compare_with(
        report(x=dict(peer=now)), report(x=dict(peer=2.0)), tolerance=0.25
    )
    assert [(row.before, row.now, row.fell) for row in rows] == [
        (2.0, now, fell)
    ]


def test_compare__gone_has_fallen_new_has_not():
    rows = compare_with(report(new=dict(peer=1.0)), report(old=dict(peer=1.0)))
    assert {row.name: row.fell for row in rows} == {
        'old, peer': True,
        'new, peer': False,
    }
    text = as_table(rows).splitlines()
    assert text[1].endswith('FELL') and text[1].split()[2] == '1.00x'


def test_read_baseline__of_the_same_kind_of_machine(tmp_path):
    path = tmp_path / 'baseline.json'
    path.write_text(
        json.dumps([report(), report(['avx512f'], x=dict(peer=3.0))])
    )
    reports = read_baseline(path)
    found = of_the_same_kind(reports, report(['avx512f']))
    assert speed_ratios(found) == {'x, peer': 3.0}
    assert of_the_same_kind(reports, report(['amx_bf16'])) is None
    assert of_the_same_kind(reports, report(['avx512f'], threads=4)) is None
    assert of_the_same_kind(reports, report(['avx512f'], cores=4)) is None


def test_speed_ratios__of_a_file_whose_keys_were_sorted():
    given = report(train=dict(a=1.5, z=0.5))
    found = json.loads(json.dumps(given, sort_keys=True))
    assert [*found['results']['train']][1] == 'added'
    assert speed_ratios(found) == speed_ratios(given)


def test_read_baseline__nothing_falls_below_nan(tmp_path):
    path = tmp_path / 'baseline.json'
    path.write_text(json.dumps([report(x=dict(peer=float('nan')))]))
    with pytest.raises(ValueError, match='is no list of reports'):
        read_baseline(path)


@pytest.mark.parametrize(
    'reports, message',
    [
        ([report(), report()], 'has two reports of all on 2 cores'),
        ([dict(report(), config='other')], 'has no report of mine'),
        ([dict(report(), benchmark='scan')], 'has no report of all'),
    ],
)
def test_load_baseline__that_would_not_be_what_is_compared(
    tmp_path, capsys, reports, message
):
    path = tmp_path / 'baseline.json'
    path.write_text(json.dumps(reports))
    with pytest.raises(SystemExit):
        load_baseline(path, 'all', 'mine')
    assert message in capsys.readouterr().err


def test_load_baseline__of_this_config_or_from_before_it_was_said(tmp_path):
    path = tmp_path / 'baseline.json'
    kept = [dict(report(), config='mine'), report(['avx512f'])]
    other = dict(report(), config='other')
    path.write_text(json.dumps([*kept, other]))
    assert load_baseline(path, 'all', 'mine') == kept


@pytest.mark.parametrize(
    'changes, message',
    [
        (dict(rounds=0), '--rounds 0: give 1 or more'),
        (dict(steps=0), '--steps 0: give 1 or more'),
        (dict(config='no.py'), '--config no.py does not exist'),
        (dict(tolerance=1.0), '--tolerance 1.0: give a share'),
        (dict(out=Path('file/x.json')), '--out file/x.json: '),
        (dict(out=Path('folder')), '--out folder is a folder: name a file'),
    ],
)
def test_numbers_and_files__before_anything_is_measured(
    tmp_path, monkeypatch, capsys, changes, message
):
    monkeypatch.chdir(tmp_path)
    Path('folder').mkdir()
    Path('file').write_text('')
    given = dict(
        rounds=1, steps=1, config='file', yolov8='file', tolerance=0.25,
        out=Path('new/x.json'),
    )  # fmt: skip
    check_arguments(Namespace(**given))
    with pytest.raises(SystemExit):
        check_arguments(Namespace(**{**given, **changes}))
    assert message in capsys.readouterr().err
