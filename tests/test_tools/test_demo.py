"""demo.py: a study from nothing to a report, called once more."""

import importlib.util
import json
from pathlib import Path
from types import SimpleNamespace

import yaml
from tiny_run import call_script, write_config

DEMO = Path(__file__).parents[2] / 'tools' / 'demo.py'
CONFIGS = DEMO.parents[1] / 'configs'


def write_study(folder):
    """Two runs that only make a checkpoint, and one that is tested."""
    config = str(write_config(folder, CONFIGS))
    short = {'default_hooks.checkpoint.interval': 1}
    study = dict(
        tests=dict(test={}),
        runs=[
            dict(name='made', config=config, options=short, tests={}),
            dict(name='too', config=config, options=short, tests={}),
            dict(name='last', config=config, options=short, seeds=[1]),
        ],
    )
    path = folder / 'tiny.yaml'
    path.write_text(yaml.safe_dump(study))
    return path


def test_demo__from_nothing_to_a_comparison(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('OMP_NUM_THREADS', '1')
    monkeypatch.setenv('MPLBACKEND', 'Agg')
    study = write_study(tmp_path)

    def call():
        done = call_script(DEMO, study)
        # of the tools that it calls
        out, err = capfd.readouterr()
        assert done.returncode == 0, done.stdout + done.stderr + out + err
        return done.stdout.splitlines(), out

    lines, _ = call()
    # first those that the last is made of, side by side
    studies = [x.split() for x in lines if 'study.py run' in x]
    chosen = [x[x.index('--only') + 1 :] for x in studies[:2]]
    assert sorted(chosen) == [['made_seed0'], ['too_seed0']]
    assert '--only' not in studies[2] and len(studies) == 3
    results = next(tmp_path.glob('work_dirs/demo/tiny_*/results'))
    # runs without a test leave no record
    assert [x.name for x in results.iterdir()] == ['last_seed1.json']
    for name in ('made', 'too'):
        assert (results.parent / f'tiny/{name}_seed0/epoch_1.pth').is_file()
    figures = [
        Path(line.split(': ', 1)[1])
        for line in lines
        if line.startswith('[demo] figure: ')
    ]
    assert len(figures) >= 3
    assert all(path.stat().st_size > 5000 for path in figures)
    page = (results.parent / 'report.html').read_text()
    assert '<title>last</title>' in page
    record = json.loads((results / 'last_seed1.json').read_text())
    score = record['metrics']['test']['mAP_50']
    expected = f'[demo] last {score:.3f} -> last {score:.3f} mAP@0.5'
    expected += ' (last is not better)'  # than itself
    assert lines[-1] == expected

    # as if it had been killed while it drew
    figures[-1].unlink()
    (results.parent / '.figures-done').unlink()
    again, of_tools = call()
    # the study has nothing left to do and the page is whole
    commands = [x for x in again if x.startswith('[demo] $')]
    assert [Path(x.split()[4]).name for x in commands] == [
        'study.py',
        'plot_run.py',
    ]
    # they need its place
    place = f'DSYM_DEMO={results.parent / "tiny"} '
    assert all(place in x for x in commands)
    assert figures[-1].is_file()
    assert of_tools.count('done before') == 3
    assert again[-1] == expected


def test_summary__from_the_first_tested_run_to_the_last(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(DEMO.parent))
    spec = importlib.util.spec_from_file_location('demo', DEMO)
    demo = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(demo)
    runs = [SimpleNamespace(name='made', tests={}, record=None)]
    for name, score in (('plain', 0.25), ('other', 0.75), ('all', 0.5)):
        record = tmp_path / f'{name}.json'
        scores = dict(val=dict(mAP_50=0.9), test=dict(mAP_50=score))
        record.write_text(json.dumps(dict(metrics=scores)))
        runs.append(SimpleNamespace(name=name, tests=scores, record=record))
    assert demo.summary(runs) == 'plain 0.250 -> all 0.500 mAP@0.5'
    worse = 'other 0.750 -> all 0.500 mAP@0.5 (all is not better)'
    assert demo.summary(runs[2:]) == worse
    assert demo.title(runs) == 'plain against all'
    assert demo.title(runs[:2]) == 'plain'
