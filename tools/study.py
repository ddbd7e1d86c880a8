r"""Train and evaluate a list of configs, one after the other.

    python tools/study.py run configs/studies/supervised.yaml
    python tools/study.py status configs/studies/supervised.yaml
    python tools/study.py table results/*.json [--classes]
    python tools/study.py paper docs/paper_tables.yaml --out paper_tables.md

A study is a YAML: its ``runs`` name a config, overrides and seeds, its
``tests`` what every run is evaluated on. Each run leaves one JSON with config
hash, commit, seed, minutes, machine and metrics in the folder ``results``. A
run that has its JSON is skipped; one that was killed, at whatever moment, goes
on from its last checkpoint when the same command is given again. Runs that
fail do not keep the others from their turn: they are listed at the end, and
the exit status is 1. ``paper`` puts the records that a YAML names beside the
paper's tables.
"""

import argparse
import json
import shlex
import subprocess
import sys
import time
import traceback
import uuid
from fnmatch import fnmatch
from pathlib import Path
from typing import Callable, List, Optional

from json_file import write_json
from studies.options import as_options, check_spelling
from studies.paper_tables import page
from studies.plan import STARTED, Run, StudyError, check_record, load_study
from studies.progress import watch
from studies.record import write_record
from studies.resume import (
    last_checkpoint,
    locked,
    mend_last_checkpoint,
)
from studies.table import load_records, markdown
from toolbox_script import stop

from dsym.provenance import git_commit
from dsym.visualization import load_json

TOOLS = Path(__file__).resolve().parent
ROOT = TOOLS.parent
TRAINED = '.train-done'  # in a work_dir


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    commands = parser.add_subparsers(dest='command', required=True)
    for name in ('run', 'status'):
        command = commands.add_parser(name)
        command.add_argument('study', type=Path)
        command.add_argument(
            '--work-dirs', type=Path, default=Path('work_dirs') / 'studies'
        )
        command.add_argument(
            '--root', type=Path, default=ROOT, help='of the paths in the study'
        )
        command.add_argument(
            '--only',
            nargs='+',
            default=['*'],
            help="runs with such ids, e.g. 'yolov9-t_*'",
        )
        command.add_argument(
            '--results',
            type=Path,
            help="folder of the records, instead of the study's",
        )
    table = commands.add_parser('table')
    table.add_argument('records', nargs='+', type=Path)
    table.add_argument('--classes', action='store_true')
    paper = commands.add_parser('paper')
    paper.add_argument('tables', type=Path, help='YAML')
    paper.add_argument('--out', type=Path, required=True, help='Markdown')
    return parser.parse_args()


class Worker:
    """Does a run's steps, each of them once.

    Args:
        run (Run): What to do.
        lock_fd (int): File descriptor of the run's lock. Children inherit it:
            a training that outlives a killed study keeps its run.
    """

    def __init__(self, run: Run, lock_fd: int) -> None:
        self.run = run
        self.lock_fd = lock_fd

    def call(self, tool: str, *arguments: str) -> None:
        """Run a tool.

        Raises:
            StudyError: If it failed.
        """
        command = [sys.executable, str(TOOLS / tool), *arguments]
        print(f'[study] $ {shlex.join(command)}', flush=True)
        log = self.run.work_dir / f'{Path(tool).stem}.log'
        with log.open('a') as output:
            process = subprocess.Popen(
                command,
                pass_fds=[self.lock_fd],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        code = watch(process, log, self.run.id)
        if code:
            lines = log.read_text(errors='replace').strip().splitlines()
            raise StudyError(
                f'{tool} ended with status {code}: '
                f'{lines[-1] if lines else ""} (log: {log}); the same command '
                'goes on from here'
            )

    def once(
        self, step: str, action: Callable[[], None], settings: str = ''
    ) -> None:
        """Do a step unless it was finished before with these settings."""
        stamp = self.run.work_dir / f'.{step}-done'
        if stamp.exists() and stamp.read_text() == settings:
            return
        # else a kill would leave results of this beside the old settings
        stamp.unlink(missing_ok=True)
        start = time.monotonic()
        action()
        stamp.write_text(settings)
        minutes = (time.monotonic() - start) / 60
        print(f'[study] {self.run.id}: {step}, {minutes:.1f} min', flush=True)

    def train(self) -> None:
        """Train to the last epoch, from the last checkpoint on."""
        run, folder = self.run, str(self.run.work_dir)
        options = as_options(run.all_options)
        if run.trainer == 'official':
            tool, budget = 'train_official_yolov9.py', []
            if run.minutes is not None:
                budget = ['--minutes', str(run.minutes)]
            self.call(
                tool, str(run.config), '--work-dir', folder, '--seed',
                str(run.seed), *budget, *options,
            )  # fmt: skip
            self.call(
                'model_converters/yolov9_to_dsym.py',
                str(run.work_dir / 'official.pt'),
                str(run.work_dir / 'converted.pth'),
            )
        else:
            mend_last_checkpoint(run.work_dir)
            # --resume forgets load_from even if there is nothing to resume
            resume = (run.work_dir / 'last_checkpoint').exists()
            self.call(
                'train.py', str(run.config), '--work-dir', folder,
                *['--resume'] * resume, *options,
            )  # fmt: skip

    def checkpoint(self) -> str:
        """The trained weights.

        Raises:
            StudyError: If they are gone.
        """
        found = trained_weights(self.run)
        if found is None:
            raise StudyError(
                f'{self.run.work_dir} was trained and its checkpoint is gone: '
                'remove the folder to train again'
            )
        return str(found)

    def test(self, name: str) -> None:
        """Evaluate the last checkpoint."""
        folder = self.run.work_dir / f'test_{name}'
        options = {
            **self.run.all_options,
            **self.run.tests[name],
            'test_evaluator.outfile_prefix': str(folder / 'result'),
            'test_evaluator.save_predictions': True,
        }
        self.call(
            'test.py', str(self.run.config), self.checkpoint(), '--work-dir',
            str(folder), *as_options(options),
        )  # fmt: skip

    def work(self) -> None:
        """Train, evaluate and record."""
        run = self.run
        note = run.work_dir / STARTED
        started = load_json(note) if note.exists() else {}
        digest = run.hash(started.get('lists'))
        if started:
            if started['config_hash'] != digest:
                raise StudyError(
                    f'begun with another config ({started["config_hash"]}, '
                    f'now {digest}): rename the run or remove {run.work_dir}'
                )
        else:
            started = dict(
                config_hash=digest,
                commit=git_commit(),
                training=uuid.uuid4().hex[:12],
                lists=run.lists(),
            )
            write_json(note, started)
        recorded = load_json(run.record) if run.record.exists() else started
        if recorded.get('training') != started.get('training'):
            raise StudyError(
                f'{run.record} is of another training than {run.work_dir}, '
                'and no file may have figures of two: move one of them away'
            )
        self.once('train', self.train)
        for name, options in run.tests.items():
            self.once(
                f'test_{name}',
                lambda name=name: self.test(name),
                json.dumps(options, sort_keys=True),
            )
        if run.tests:
            write_record(run, started)
        print(f'[study] {run.id}: {result_of(run)}', flush=True)


def result_of(run: Run) -> Path:
    """What a finished run leaves: its record, or its work_dir."""
    return run.record if run.tests else run.work_dir


def trained_weights(run: Run) -> Optional[Path]:
    """Find the checkpoint that a run is evaluated with; None without any."""
    if run.trainer == 'official':
        path = run.work_dir / 'converted.pth'
        return path if path.exists() else None
    return last_checkpoint(run.work_dir)


def is_recorded(run: Run) -> bool:
    """Whether a run has its JSON, of this very config and with all tests.

    One without tests has none; it is finished when it was trained.

    Raises:
        StudyError: If the JSON is of another config, has a test of this name
            with other settings, or lacks one that can only be had by training
            again.
    """
    if not (run.record if run.tests else run.work_dir / TRAINED).exists():
        return False
    source = run.record if run.tests else run.work_dir / STARTED
    record = load_json(source)
    check_record(run, record, result_of(run))
    missing = [name for name in run.tests if name not in record['metrics']]
    if missing and trained_weights(run) is None:
        folder = ' and the folder' * run.work_dir.exists()
        raise StudyError(
            f'{run.record} has no test {missing[0]} and its checkpoint in '
            f'{run.work_dir} is gone: remove the file{folder} to train again'
        )
    return not missing


def choose(runs: List[Run], patterns: List[str]) -> List[Run]:
    """Keep the runs whose ids match one of several patterns of the shell.

    Raises:
        StudyError: If a pattern matches none.
    """
    for pattern in patterns:
        if not any(fnmatch(run.id, pattern) for run in runs):
            names = ', '.join(run.id for run in runs)
            raise StudyError(f'--only {pattern} names none of {names}')
    return [x for x in runs if any(fnmatch(x.id, y) for y in patterns)]


def planned(args: argparse.Namespace) -> List[Run]:
    """The runs that the command line asks for."""
    runs = load_study(
        args.study, args.root, args.work_dirs.resolve(), args.results
    )
    chosen = choose(runs, args.only)
    for run in chosen:
        check_spelling(run)
    return chosen


def do_run(run: Run, place: str) -> None:
    """Do a run that is not recorded yet.

    Args:
        run (Run): The run.
        place (str): Its number in the queue, for the line that it begins
            with.

    Raises:
        StudyError: If it cannot be done.
    """
    if is_recorded(run):
        print(f'[study] {place} {run.id}: done before', flush=True)
        return
    print(f'[study] {place} {run.id}', flush=True)
    run.work_dir.mkdir(parents=True, exist_ok=True)
    with (run.work_dir / '.lock').open('w') as lock:
        if not locked(lock.fileno()):
            raise StudyError(
                f'{run.work_dir} is in use: another study, or a training '
                'that survived it, works there; wait for it or end it'
            )
        Worker(run, lock.fileno()).work()


def run_study(args: argparse.Namespace) -> None:
    """Do the runs that are not recorded yet, then tell which failed."""
    runs, failures = planned(args), []
    for number, run in enumerate(runs, 1):
        try:
            do_run(run, f'{number}/{len(runs)}')
        except Exception as error:  # whatever it is, the others go on
            if not isinstance(error, (OSError, ValueError)):
                traceback.print_exc()  # a defect of ours or of a config
            reason = ' '.join(str(error).split()) or type(error).__name__
            failures.append(f'{run.id}: failed: {reason}')
            print(f'[study] {failures[-1]}', flush=True)
    for failure in failures:
        print(f'study.py: error: {failure}', file=sys.stderr)
    sys.exit(int(bool(failures)))


def show_status(args: argparse.Namespace) -> None:
    """Say which runs are recorded and how far the others are."""
    for run in planned(args):
        try:
            if is_recorded(run):
                state = f'done: {result_of(run)}'
            elif run.work_dir.exists():
                last = last_checkpoint(run.work_dir)
                state = f'begun, {last.stem if last else "no epoch"}'
            else:
                state = 'to do'
        except ValueError as error:
            state = str(error)
        print(f'{run.id}: {state}')


def main() -> None:
    """Run one of the commands."""
    args = parse_args()
    try:
        if args.command == 'run':
            run_study(args)
        elif args.command == 'status':
            show_status(args)
        elif args.command == 'paper':
            args.out.parent.mkdir(parents=True, exist_ok=True)
            args.out.write_text(page(args.tables))
            print(args.out)
        else:
            print(markdown(load_records(args.records), args.classes))
    except (FileNotFoundError, ValueError) as error:
        stop(str(error))


if __name__ == '__main__':
    try:
        main()
    except KeyboardInterrupt:
        stop('interrupted; the same command goes on from here.')
