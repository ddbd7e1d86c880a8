"""The page of the paper's tables."""

import json
import sys
from pathlib import Path

import pytest
import yaml
from tiny_run import call_script

REPO = Path(__file__).parents[2]
sys.path.insert(0, str(REPO / 'tools'))

from studies import paper_tables  # noqa: E402
from studies.gains import gain  # noqa: E402
from studies.plan import StudyError, load_study  # noqa: E402

TABLES = REPO / 'docs' / 'paper_tables.yaml'


def test_page__is_that_of_the_committed_records():
    page = (REPO / 'docs' / 'paper_tables.md').read_text()
    assert paper_tables.page(TABLES) == page


def test_readme__has_its_gains():
    """The rows of README's table of parts are those of the page."""
    page = (REPO / 'docs' / 'paper_tables.md').read_text()
    gains = page.partition('| part |')[2].partition('\n\n')[0]
    readme = (REPO / 'README.md').read_text()
    assert '| part |' + gains in readme


def test_page__in_a_folder_that_is_not_there_yet(tmp_path):
    out = tmp_path / 'new' / 'page.md'
    done = call_script(
        REPO / 'tools' / 'study.py', 'paper', TABLES, '--out', out
    )
    assert (done.returncode, done.stderr) == (0, '')
    assert out.read_text() == paper_tables.page(TABLES)


def planned_in(node):
    """All patterns of records that a study is to leave."""
    if isinstance(node, dict):
        if 'planned' in node:
            return [node['planned']]
        node = [*node.values()]
    parts = node if isinstance(node, list) else []
    return [pattern for part in parts for pattern in planned_in(part)]


def test_planned_rows__are_runs_of_studies(tmp_path):
    assert planned_in(dict(rows=[dict(planned='x'), dict(a=1)])) == ['x']
    patterns = planned_in(yaml.safe_load(TABLES.read_text()))
    runs = [
        run.record.relative_to(REPO)
        for path in (REPO / 'configs' / 'studies').glob('*.yaml')
        for run in load_study(path, REPO, tmp_path)
    ]
    for pattern in patterns:
        assert any(record.match(pattern) for record in runs), pattern


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """Two seeds of one row, and a row without a record."""
    monkeypatch.setattr(paper_tables, 'REPO', tmp_path)
    for seed, score in ((0, 0.6), (1, 0.7)):
        scores = dict(mAP_50=score, recall=0.5, precision=0.25)
        scores.update(dent_recall=0.5, dent_precision=0.25, dent_AP50=score)
        record = dict(seed=seed, name='run', metrics=dict(here=scores))
        record.update(steps=1200 + 10 * seed, minutes=10 + seed)
        (tmp_path / f'run_seed{seed}.json').write_text(json.dumps(record))
    for seed in (0, 1):
        scores = dict(mAP_50=0.5)
        record = dict(seed=seed, name='plain', metrics=dict(here=scores))
        (tmp_path / f'plain_seed{seed}.json').write_text(json.dumps(record))
    cost = dict(parameters=2e6, gflops=1, images_per_second=20, peak_mib=900)
    costs = dict(results=dict(infer_1=dict(ours=cost)))
    (tmp_path / 'costs.json').write_text(json.dumps(costs))
    run = 'run_seed*.json'
    path = tmp_path / 'tables.yaml'
    one = {'with': 'run_seed0.json', 'without': 'plain_seed0.json'}
    gains = [
        dict(
            row='part', labels='20%', goal=goal, paper=1,
            pairs=[{'with': run, 'without': 'plain_seed*.json'}],
        )
        for goal in (15, 16)
    ]  # fmt: skip
    gains.append(dict(row='other', labels='40%', pairs=[one]))
    content = dict(
        intro='',
        split='here',
        gains=dict(what='x', rows=gains),
        table_3=[
            dict(row='ours', labels='20%', records=run, paper=[1, 2, 3]),
            dict(row='other', labels='40%'),
        ],
        table_4=dict(records=run, what='x', paper=dict(dent=[1, 2, 3])),
        table_5=dict(
            costs='costs.json',
            rows=[
                dict(row='ours', records=run, after='run_seed1.json'),
                dict(row='other', paper=4),
                dict(row='slow', planned='slow_seed*.json'),
                dict(row='one', records='run_seed1.json', after=run),
            ],
        ),
        table_6=[['a', 'b', 'c', 'd', 'e', 'f']],
    )
    path.write_text(yaml.safe_dump(content))
    return path


def test_rows__have_both_sides(tiny):
    """0.6 and 0.7: a mean of 65.0 and a deviation of 5 sqrt(2)."""
    lines = paper_tables.page(tiny).splitlines()
    both = '50.0 ± 0.0 | 25.0 ± 0.0 | 65.0 ± 7.1 | 1.0 | 2.0 | 3.0'
    assert f'| ours | 20% | {both} | 0, 1 | 1,205 | 10 |' in lines
    assert '| other | 40% | not measured |  |  |  |  |  |  |  |  |' in lines
    assert f'| dent | {both} |' in lines
    costs = '2.0 | 1.0 | 50 | 900'
    spent = '1,210 + 1,205 | 11 + 10'
    assert f'| ours | 65.0 ± 7.1 |  | 0, 1 | {spent} | {costs} |' in lines
    # began with that of its own seed
    spent = '1,210 + 1,210 | 11 + 11'
    nothing = 'not measured |  |  | '
    assert f'| one | 70.0 |  | 1 | {spent} | {nothing} |' in lines
    assert f'| other | not measured | 4.0 |  |  |  | {nothing} |' in lines


def test_gains__of_pairs_of_a_seed(tiny):
    """10 and 20 points: 15 in the mean, a deviation of 5 sqrt(2).

    Student's t of one degree of freedom is 12.706 at 97.5%; times 5 it is
    63.5.
    """
    lines = paper_tables.page(tiny).splitlines()
    found = '+15.0 | -48.5 to +78.5 | {} | 0: +10.0, 1: +20.0 |  |'
    for goal, said in ((15, 'in the mean alone'), (16, 'no')):
        row = f'| part | 20% | +1.0 | +{goal}.0 | {found.format(said)}'
        assert row in lines
    row = '| other | 40% |  |  | +10.0 | one pair |  | 0: +10.0 |  |'
    assert row in lines


def test_gains__that_are_not_chance():
    """1.9, 2.0 and 2.1: 2 with a margin of 4.303 * 0.1 / sqrt(3) = 0.248."""
    pairs = [
        (dict(metrics=dict(x=dict(mAP_50=0.5 + y))), control)
        for control in [dict(metrics=dict(x=dict(mAP_50=0.5)))]
        for y in (0.019, 0.02, 0.021)
    ]
    found = gain(pairs, 'x')
    assert found.mean == pytest.approx(2)
    assert found.margin == pytest.approx(0.248, abs=5e-4)
    assert [found.reaches(goal) for goal in (1, 1.99, 2.1)] == [
        'yes', 'yes', 'no',
    ]  # fmt: skip


def test_gains__of_a_seed_without_its_control_are_refused(tiny):
    (tiny.parent / 'plain_seed1.json').unlink()
    with pytest.raises(StudyError, match='seed 1 is on one side alone'):
        paper_tables.page(tiny)


def test_gains__of_a_pair_twice_are_refused(tiny):
    content = yaml.safe_load(tiny.read_text())
    content['gains']['rows'][2]['pairs'] *= 2
    tiny.write_text(yaml.safe_dump(content))
    with pytest.raises(StudyError, match='other has a pair twice'):
        paper_tables.page(tiny)


def test_planned_row__fills_itself_and_is_marked(tiny):
    """A budget of minutes that ended the training; one that did not."""
    lines = paper_tables.page(tiny).splitlines()
    nothing = 'not measured |  |  | '
    assert f'| slow | not measured |  |  |  |  | {nothing} |' in lines
    record = json.loads((tiny.parent / 'run_seed0.json').read_text())
    for stopped, mark in ((True, ' †'), (False, '')):
        record['budget'] = dict(minutes=10, planned_steps=9, stopped=stopped)
        (tiny.parent / 'slow_seed0.json').write_text(json.dumps(record))
        lines = paper_tables.page(tiny).splitlines()
        assert (
            f'| slow | 60.0 |  | 0 | 1,200 | 10{mark} | {nothing} |' in lines
        )


def test_missing_record__is_named(tiny):
    (tiny.parent / 'run_seed0.json').unlink()
    (tiny.parent / 'run_seed1.json').unlink()
    with pytest.raises(FileNotFoundError, match=r'run_seed\*.json: no such'):
        paper_tables.page(tiny)


@pytest.mark.parametrize(
    'text, message',
    [
        ('results: a', 'has no intro: give the YAML of a page'),
        ('- a', 'has no intro: give the YAML of a page'),
        ('a: [', 'while parsing'),
    ],
)
def test_page__of_another_yaml_is_one_line(tmp_path, text, message):
    path = tmp_path / 'x.yaml'
    path.write_text(text)
    done = call_script(
        REPO / 'tools' / 'study.py', 'paper', path, '--out', tmp_path / 'x.md'
    )
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert message in done.stderr
