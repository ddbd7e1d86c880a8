"""demo.py: a study from nothing to a report, called once more."""

from pathlib import Path

import yaml
from tiny_run import call_script, write_config

DEMO = Path(__file__).parents[2] / 'tools' / 'demo.py'
CONFIGS = DEMO.parents[1] / 'configs'


def write_study(folder):
    """Two tested runs, and one between that only makes a checkpoint."""
    config = str(write_config(folder, CONFIGS))
    short = {'default_hooks.checkpoint.interval': 1}
    study = dict(
        tests=dict(test={}),
        runs=[
            dict(name='first', config=config, options=short),
            dict(name='made', config=config, options=short, tests={}),
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
    results = next(tmp_path.glob('work_dirs/demo/tiny_*/results'))
    # the run without a test leaves no record
    assert sorted(x.name for x in results.iterdir()) == [
        'first_seed0.json',
        'last_seed1.json',
    ]
    assert (results.parent / 'tiny/made_seed0/epoch_1.pth').is_file()
    figures = [
        Path(line.split(': ', 1)[1])
        for line in lines
        if line.startswith('[demo] figure: ')
    ]
    assert len(figures) >= 3
    assert all(path.stat().st_size > 5000 for path in figures)
    page = (results.parent / 'report.html').read_text()
    assert 'first' in page and 'last' in page
    scores = [
        yaml.safe_load((results / f'{name}.json').read_text())
        for name in ('first_seed0', 'last_seed1')
    ]
    first, last = (x['metrics']['test']['mAP_50'] for x in scores)
    expected = f'[demo] first {first:.3f} -> last {last:.3f} mAP@0.5'
    assert lines[-1] == expected

    again, of_tools = call()
    # the study alone, which has nothing left to do
    assert sum(line.startswith('[demo] $') for line in again) == 1
    assert of_tools.count('done before') == 3
    assert again[-1] == expected
