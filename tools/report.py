"""Write a run or a study as one HTML page.

    python tools/report.py work_dirs/my_run
    python tools/report.py configs/studies/recipe.yaml
    python tools/report.py configs/yolov9/results/recipe --run work_dirs/my_run

A run is the work_dir of a training or an evaluation, a study a YAML of
tools/study.py or its folder of results. The page needs nothing but its file;
it says what is missing and which command would make it.
"""

import argparse
from pathlib import Path
from typing import List, Optional, Tuple

from studies.plan import STARTED, Run, check_record, load_study
from toolbox_script import stop

from dsym.errors import InputError, MissingFileError
from dsym.visualization import load_json
from dsym.visualization.report import Pictures, run_report, study_report
from dsym.visualization.report.inputs import (
    StudyFiles,
    checked,
    find_evaluations,
    is_record,
    is_results_folder,
    read_results,
    read_run,
)

ROOT = Path(__file__).resolve().parents[1]


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        'source',
        type=Path,
        metavar='RUN_OR_STUDY',
        help='work_dir, study YAML or folder of records',
    )
    parser.add_argument(
        '--out',
        type=Path,
        default=Path('report.html'),
        help='the page (default: %(default)s)',
    )
    parser.add_argument(
        '--title',
        help='heading of the page; default: the name of the run or study',
    )
    parser.add_argument(
        '--evaluation',
        metavar='NAME',
        help="path of an evaluation's files below the work_dir without "
        '.curves.json; default: the newest',
    )
    parser.add_argument(
        '--run',
        type=Path,
        metavar='WORK_DIR',
        help='with a study: the run whose curves and images are shown; '
        'default\nwith a YAML: the one with the highest mAP at IoU 0.5 in '
        'its last test\namong those whose work_dir is there',
    )
    parser.add_argument(
        '--synthetic',
        type=Path,
        metavar='FOLDER',
        help='a set of synthetic images, as DiffusionAugment leaves it',
    )
    parser.add_argument(
        '--img-root', type=Path, help='folder of the real images, if moved'
    )
    parser.add_argument(
        '--num-images',
        type=int,
        default=6,
        help='images of each gallery (default: %(default)s)',
    )
    parser.add_argument(
        '--work-dirs',
        type=Path,
        default=Path('work_dirs') / 'studies',
        help="where a study's work_dirs are (default: %(default)s)",
    )
    parser.add_argument(
        '--results',
        type=Path,
        action='append',
        metavar='FOLDER',
        help="with a study's YAML: where its records are, in place of the\n"
        'folder that it names; given more than once, the first folder that\n'
        'has a run counts',
    )
    parser.add_argument(
        '--root', type=Path, default=ROOT, help='of the paths in a study YAML'
    )
    return parser.parse_args()


def recorded(runs: List[Tuple[Run, ...]]) -> StudyFiles:
    """Read the records of planned runs, and the audits beside them.

    Args:
        runs (list[tuple[Run]]): Each as every folder may have it; the first
            record counts.

    Raises:
        StudyError: If a record is of another config than the study's.
    """
    study = StudyFiles('', [])
    audits = {x.results: read_results(x.results).audits for x in runs[0]}
    for copies in runs:
        run = first_recorded(copies)
        if run is not None:
            record = checked(
                run.record,
                is_record,
                'record of a study',
                'remove it and run the study again',
            )
            check_record(run, record, run.record)
            # what has the same hash may have been spelled otherwise
            study.records.append(
                dict(
                    record,
                    config=run.config.stem,
                    options=run.options,
                    trainer=run.trainer,
                )
            )
            if run.id in audits[run.results]:
                study.audits[run.id] = audits[run.results][run.id]
        elif copies[0].tests:  # others leave a checkpoint, no record
            study.unrecorded.append(copies[0].id)
    return study


def first_recorded(copies: Tuple[Run, ...]) -> Optional[Run]:
    """The one of several folders' that has a record."""
    return next((run for run in copies if run.record.is_file()), None)


def best_run(runs: List[Run]) -> Optional[Path]:
    """Choose the recorded run to show; None if no work_dir is left."""
    scores = {
        run.work_dir: list(load_json(run.record)['metrics'].values())[-1]
        for run in runs
        if find_evaluations(run.work_dir) and is_its_training(run)
    }
    return max(scores, key=lambda x: scores[x]['mAP_50'], default=None)


def is_its_training(run: Run) -> bool:
    """Whether a record is of what lies in the run's work_dir."""
    note = run.work_dir / STARTED
    started = load_json(note) if note.is_file() else {}
    record = load_json(run.record)
    return all(record.get(key) == started[key] for key in started)


def write_report(args: argparse.Namespace) -> None:
    """Read the source and write the page.

    Raises:
        InputError: If an input is missing or damaged.
    """
    source, detail = args.source, args.run
    pictures = Pictures(args.num_images, args.img_root, args.synthetic)
    if args.num_images < 1:
        raise InputError('--num-images must be at least 1')
    if not source.exists():
        raise MissingFileError(
            f'{source}: no such file or folder; name a work_dir, a study '
            'YAML or its folder of results'
        )
    if args.out.is_dir():
        raise InputError(f'--out {args.out} is a folder: name a file')
    if source.is_dir() and any(source.glob(f'*/{STARTED}')):
        raise InputError(
            f'{source} holds the runs of a study: name its YAML, or one of '
            'the folders in it'
        )
    if args.results is not None and source.is_dir():
        raise InputError(f'--results is for the YAML of a study, not {source}')
    if source.is_dir() and not is_results_folder(source):
        if detail is not None:
            raise InputError(f'--run is for a study; {source} is a run')
        run = read_run(source, args.evaluation)
        page = run_report(run, pictures, args.title)
    else:
        if source.is_dir():
            study = read_results(source)
        else:
            work_dirs = args.work_dirs.resolve()
            runs = list(
                zip(
                    *(
                        load_study(source, args.root, work_dirs, folder)
                        for folder in args.results or [None]
                    )
                )
            )
            study = recorded(runs)
            study.name = source.stem
            detail = detail or best_run(
                [run for run in map(first_recorded, runs) if run is not None]
            )
        if not study.records:
            raise InputError(
                f'{source}: none of its runs is recorded yet; make one with '
                f'python tools/study.py run {source}, with the --root, '
                '--results and --work-dirs that are given here'
            )
        run = None if detail is None else read_run(detail, args.evaluation)
        study.name = args.title or study.name
        page = study_report(study, run, pictures)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    unfinished = args.out.with_suffix('.tmp')
    unfinished.write_text(page, encoding='utf-8')
    unfinished.replace(args.out)
    print(args.out)


def main() -> None:
    """Write the page."""
    try:
        write_report(parse_args())
    except (OSError, ValueError) as error:
        stop(str(error))


if __name__ == '__main__':
    main()
