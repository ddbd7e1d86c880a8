"""The whole method on synthetic steel, from nothing to a report.

Usage: python tools/demo.py [STUDY] [--work-dir DIR]

A supervised detector, a small CLIP, a diffusion model, and the mean teacher
that joins them: the runs of configs/studies/demo.yaml, each by the ordinary
tool, whose command is printed. The last run is made of the others. These need
nothing of each other, so the first and the rest are trained side by side,
each on half of the cores: small networks gain little from a second one. Then a
report compares the first run with the last. A second call goes on where an
interrupted one stopped and repeats no finished step. A changed study or config
gets a work_dir of its own.
"""

import argparse
import os
import shlex
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import List

from studies.plan import Run, StudyError, load_study
from studies.resume import last_checkpoint
from study import is_recorded
from toolbox_script import stop

from dsym.diffusion.synthetic_settings import digest
from dsym.engine.cpu_threads_hook import usable_cores
from dsym.visualization import load_json

TOOLS = Path(__file__).resolve().parent
ROOT = TOOLS.parent
#: In the environment of the runs: where the others are.
PLACE = 'DSYM_DEMO'


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        'study',
        nargs='?',
        type=Path,
        default=ROOT / 'configs' / 'studies' / 'demo.yaml',
        help='YAML of tools/study.py (default: %(default)s)',
    )
    parser.add_argument(
        '--work-dir',
        type=Path,
        default=Path('work_dirs') / 'demo',
        help='parent of the work_dir (default: %(default)s)',
    )
    return parser.parse_args()


def call(tool: str, *arguments: object, **variables: str) -> None:
    """Run one of the tools; its failure ends the demo.

    Args:
        tool (str): Its file in tools/.
        *arguments (object): Of its command line.
        **variables (str): Of its environment, beside ours.
    """
    command = [sys.executable, str(TOOLS / tool), *map(str, arguments)]
    place = f'{PLACE}={shlex.quote(os.environ[PLACE])}'
    given = ''.join(f' {key}={value}' for key, value in variables.items())
    print(f'[demo] $ {place}{given} {shlex.join(command)}', flush=True)
    code = subprocess.run(command, env={**os.environ, **variables}).returncode
    if code:
        stop(
            f'{tool} ended with status {code}, see above; after the remedy '
            'the same command goes on from here.'
        )


def train_side_by_side(runs: List[Run], command: List[object]) -> None:
    """Do the first run and the others but the last at the same time.

    Args:
        runs (list[Run]): Of the study.
        command (list): Of study.py, without its choice of runs.
    """
    halves = [
        [run.id for run in half if not is_recorded(run)]
        for half in (runs[:1], runs[1:-1])
    ]
    variables = {}
    if all(halves) and 'OMP_NUM_THREADS' not in os.environ:
        variables['OMP_NUM_THREADS'] = str(max(usable_cores() // 2, 1))
    with ThreadPoolExecutor() as pool:
        calls = [
            pool.submit(call, *command, '--only', *half, **variables)
            for half in halves
            if half
        ]
    for done in calls:
        done.result()


def compared(runs: List[Run]) -> List[Run]:
    """The first tested run and the last."""
    tested = [run for run in runs if run.tests]
    return [tested[0], tested[-1]]


def title(runs: List[Run]) -> str:
    """Heading of the report."""
    names = dict.fromkeys(run.name for run in compared(runs))
    return ' against '.join(names)


def summary(runs: List[Run]) -> str:
    """One line: what the first tested run reaches, and the last."""
    names = [run.name for run in compared(runs)]
    scores = [
        [*load_json(run.record)['metrics'].values()][-1]['mAP_50']
        for run in compared(runs)
    ]
    words = [f'{name} {score:.3f}' for name, score in zip(names, scores)]
    better = '' if scores[1] > scores[0] else f' ({names[1]} is not better)'
    return f'{" -> ".join(words)} mAP@0.5{better}'


def main() -> None:
    """Run the steps."""
    args = parse_args()
    os.environ.pop(PLACE, None)
    try:
        runs = load_study(args.study, ROOT, args.work_dir)
        name = f'{args.study.stem}_{digest([run.hash() for run in runs])}'
    except ValueError as error:
        stop(str(error))
    parent = args.work_dir.resolve() / name
    results = parent / 'results'
    place = parent / args.study.stem
    os.environ[PLACE] = str(place)
    parent.mkdir(parents=True, exist_ok=True)
    start = time.monotonic()

    names = ', '.join(run.id for run in runs)
    print(f'[demo] {len(runs)} runs: {names}; then a report', flush=True)
    runs = load_study(args.study, ROOT, parent, results)
    command = [
        'study.py', 'run', args.study, '--work-dirs', parent,
        '--results', results,
    ]  # fmt: skip
    try:
        train_side_by_side(runs, command)
    except StudyError as error:
        stop(str(error))
    call(*command)
    last = compared(runs)[-1]
    page, figures = parent / 'report.html', last.work_dir / 'figures'
    drawn = parent / '.figures-done'  # not half of them
    synthetic = sorted((place / 'synthetic').glob('*'))[:1]
    if not drawn.exists():
        call('analysis_tools/plot_run.py', last.work_dir)
        drawn.touch()
    if not page.exists():
        call(
            'report.py', args.study, '--results', results, '--work-dirs',
            parent, '--title', title(runs), '--run', last.work_dir,
            '--out', page,
            *(x for folder in synthetic for x in ('--synthetic', folder)),
        )  # fmt: skip

    print(f'[demo] checkpoint: {last_checkpoint(last.work_dir)}')
    for path in sorted(figures.glob('*.png')):
        print(f'[demo] figure: {path}')
    print(f'[demo] report: {page}, to be opened in a browser')
    print(f'[demo] {(time.monotonic() - start) / 60:.1f} min in this call')
    print(f'[demo] {summary(runs)}')


if __name__ == '__main__':
    try:
        main()
    except KeyboardInterrupt:
        stop('interrupted; the same command goes on from here.')
