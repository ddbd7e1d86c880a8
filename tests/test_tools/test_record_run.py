"""record_run.py on a work_dir as mmengine leaves it."""

import json
import subprocess
import sys
from pathlib import Path

TOOL = Path(__file__).parents[2] / 'tools/analysis_tools/record_run.py'
CONFIG = """
randomness = dict(seed=3)
train_dataloader = dict(dataset=dict(split='labeled_20'))
"""


def call(*args):
    return subprocess.run(
        [sys.executable, str(TOOL), *map(str, args)],
        capture_output=True,
        text=True,
    )


def write_run(root):
    """A run of two sessions: 10 steps of 6 s, then 10 steps of 12 s."""
    (root / 'my_config.py').parent.mkdir(parents=True)
    (root / 'my_config.py').write_text(CONFIG)
    for name, step, seconds in (('1', 10, 6.0), ('2', 20, 12.0)):
        log = root / name / 'vis_data' / 'scalars.json'
        log.parent.mkdir(parents=True)
        row = dict(loss=1.0, time=seconds, epoch=step // 10, step=step)
        log.write_text(json.dumps(row) + '\n')
    scores = root / 'paper_test' / '20260101_000000'
    scores.mkdir(parents=True)
    names = ('mAP_50', 'mAP', 'precision', 'recall', 'f1')
    metrics = {f'defect/{name}': 0.5 for name in names}
    metrics.update(
        {
            f'defect/scratches_{name}': 0.25
            for name in ('AP50', 'AP', 'precision', 'recall', 'f1')
        }
    )
    metrics.update({'defect/scratches_yolo_AP50': 0.26, 'time': 1.0})
    (scores / '20260101_000000.json').write_text(json.dumps(metrics))


def test_record_and_table(tmp_path):
    root, out = tmp_path / 'run', tmp_path / 'results' / 'run.json'
    write_run(root)
    test = f'paper_test={root / "paper_test"}'
    done = call('record', root, '--out', out, '--test', test)
    assert done.returncode == 0, done.stderr
    record = json.loads(out.read_text())
    # 20 steps of 9 s on average
    assert record['minutes'] == 3.0
    assert (record['seed'], record['epochs'], record['steps']) == (3, 2, 20)
    assert record['train_split'] == 'labeled_20'
    assert record['config'] == 'my_config'
    assert record['metrics']['paper_test']['mAP_50'] == 0.5
    assert 'time' not in record['metrics']['paper_test']

    table = call('table', out).stdout.splitlines()
    assert table[2] == (
        '| my_config | paper_test | 3 | 3.0 | 50.0 | 50.0 | 50.0 | 50.0 '
        '| 50.0 |'
    )
    rows = [line for line in table if line.startswith('| scratches')]
    assert rows == ['| scratches | 25.0 | 25.0 | 25.0 | 25.0 | 25.0 |']


def test_unfinished_run_is_one_line(tmp_path):
    done = call('record', tmp_path, '--out', tmp_path / 'x', '--test', 'a=b')
    assert done.returncode == 1
    assert len(done.stderr.strip().splitlines()) == 1
    assert str(tmp_path) in done.stderr
