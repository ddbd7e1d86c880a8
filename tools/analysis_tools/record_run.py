r"""Record a run as one JSON, or print a table of recorded runs.

    python tools/analysis_tools/record_run.py record WORK_DIR --out run.json \
        --test paper_test=TEST_DIR [test=TEST_DIR ...] [--note TEXT]
    python tools/analysis_tools/record_run.py table run.json [...]

TEST_DIR is the work_dir of a ``tools/test.py`` on the named split. Minutes are
those of the training loop: the mean step's time over all sessions of a resumed
run, times the steps.
"""

import argparse
import hashlib
import json
import platform
import re
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Dict, List, Sequence

from mmengine.config import Config

from dsym.visualization import load_json, read_scalars

# One name for each feature a training step gains from.
CPU_FEATURES = ('avx512f', 'avx512_bf16', 'amx_bf16')
COLUMNS = ('mAP_50', 'mAP', 'precision', 'recall', 'f1')


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    commands = parser.add_subparsers(dest='command', required=True)
    record = commands.add_parser('record')
    record.add_argument('work_dir', type=Path)
    record.add_argument('--out', type=Path, required=True)
    record.add_argument(
        '--test', nargs='+', required=True, metavar='SPLIT=TEST_DIR'
    )
    record.add_argument('--note', default='', help='what else matters')
    table = commands.add_parser('table')
    table.add_argument('records', nargs='+', type=Path)
    return parser.parse_args()


def newest(folder: Path, pattern: str) -> Path:
    """Find the newest matching file of a work_dir."""
    files = sorted(folder.glob(pattern))
    if not files:
        raise FileNotFoundError(
            f'{folder}: no {pattern}; name the work_dir of a finished run'
        )
    return files[-1]


def describe_machine() -> Dict[str, object]:
    """Describe the processor: a figure in minutes means nothing without."""
    info = Path('/proc/cpuinfo')
    text = info.read_text() if info.is_file() else ''
    model = re.search(r'model name\s*:\s*(.+)', text)
    flags = re.search(r'flags\s*:\s*(.+)', text)
    flags = set(flags.group(1).split()) if flags else set()
    return dict(
        cpu=model.group(1) if model else platform.processor(),
        cores=len(re.findall(r'^processor\s*:', text, re.M)),
        features=[name for name in CPU_FEATURES if name in flags],
        python=platform.python_version(),
    )


def git_commit() -> str:
    """Name the checkout's commit, with a + if it was changed."""
    commit = subprocess.run(
        ['git', 'describe', '--always', '--dirty=+', '--abbrev=12'],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
    )
    return commit.stdout.strip()


def record(args: argparse.Namespace) -> None:
    """Write one run's JSON."""
    config = Config.fromfile(newest(args.work_dir, '*.py'))
    steps = [row for row in read_scalars(args.work_dir) if 'loss' in row]
    seconds = statistics.fmean(row['time'] for row in steps)
    metrics = {}
    for item in args.test:
        split, _, folder = item.partition('=')
        scores = load_json(newest(Path(folder), '[0-9]*/[0-9]*.json'))
        metrics[split] = {
            key.split('/', 1)[1]: value
            for key, value in scores.items()
            if key.startswith('defect/')
        }
    result = dict(
        config=newest(args.work_dir, '*.py').stem,
        config_hash=hashlib.sha256(config.pretty_text.encode()).hexdigest()[
            :12
        ],
        commit=git_commit(),
        seed=config.randomness.seed,
        train_split=config.train_dataloader.dataset.get('split'),
        epochs=steps[-1]['epoch'],
        steps=steps[-1]['step'],
        minutes=round(seconds * steps[-1]['step'] / 60, 1),
        machine=describe_machine(),
        note=args.note,
        metrics=metrics,
    )
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(result, indent=2) + '\n')
    print(args.out)


def markdown_row(cells: Sequence[object]) -> str:
    """Join cells to a row of a Markdown table."""
    return '| ' + ' | '.join(str(cell) for cell in cells) + ' |'


def table(paths: List[Path]) -> None:
    """Print the recorded runs, overall and a class."""
    runs = [load_json(path) for path in paths]
    head = ['config', 'tested on', 'seed', 'minutes', *COLUMNS]
    print(markdown_row(head))
    print(markdown_row(['---'] * len(head)))
    for run in runs:
        for split, scores in run['metrics'].items():
            figures = [f'{100 * scores[name]:.1f}' for name in COLUMNS]
            print(
                markdown_row(
                    [run['config'], split, run['seed'], run['minutes']]
                    + figures
                )
            )
    for run in runs:
        for split, scores in run['metrics'].items():
            print(f'\n{run["config"]}, seed {run["seed"]}, {split}:\n')
            names = ('AP50', 'AP', 'precision', 'recall', 'f1')
            print(markdown_row(['class', *names]))
            print(markdown_row(['---'] * (len(names) + 1)))
            for key in scores:
                if not key.endswith('_AP50') or key.endswith('_yolo_AP50'):
                    continue
                name = key[: -len('_AP50')]
                if name in ('mAP', 'yolo'):
                    continue
                cells = [f'{100 * scores[f"{name}_{k}"]:.1f}' for k in names]
                print(markdown_row([name, *cells]))


def main() -> None:
    """Run one of the two commands."""
    args = parse_args()
    try:
        if args.command == 'record':
            record(args)
        else:
            table(args.records)
    except (FileNotFoundError, ValueError) as error:
        sys.exit(f'record_run.py: error: {error}')


if __name__ == '__main__':
    main()
