"""Tables of recorded runs, with mean and standard deviation over seeds."""

import statistics
import sys
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence

from dsym.evaluation.study_records import (
    Records,
    group_records,
    known,
    record_classes,
    spread_over_seeds,
)
from dsym.visualization import load_json
from dsym.visualization.report.inputs import is_record

from .plan import StudyError

COLUMNS = ('mAP_50', 'mAP', 'precision', 'recall', 'f1')
CLASS_COLUMNS = ('AP50', 'AP', 'precision', 'recall', 'f1')


def load_records(paths: Sequence[Path]) -> List[Dict[str, Any]]:
    """Read the records among JSON files; others are named and left out.

    Args:
        paths (Sequence[Path]): The files.

    Returns:
        list[dict]: The records.

    Raises:
        StudyError: If there is none, or a file does not exist.
    """
    records = []
    for path in paths:
        if path.is_dir():
            raise StudyError(
                f'{path} is a folder: name the files in it, {path}/*.json'
            )
        if not path.is_file():
            raise StudyError(
                f'{path} does not exist: give records that tools/study.py '
                'run has left'
            )
        content = load_json(path)
        if is_record(content):
            # which tells runs of one name apart
            records.append(dict(content, folder=str(path.parent)))
        else:
            print(f'{path}: no record, left out', file=sys.stderr)
    if not records:
        raise StudyError(
            'none of these files is a record: name those that '
            'tools/study.py run has left'
        )
    return records


def row(cells: Sequence[object]) -> str:
    """Join cells to a row of a Markdown table."""
    return '| ' + ' | '.join(str(cell) for cell in cells) + ' |'


def head(cells: Sequence[str]) -> List[str]:
    """Head of a Markdown table."""
    return [row(cells), row(['---'] * len(cells))]


def percent(values: Sequence[Optional[float]]) -> str:
    """Mean in percent, with the sample's standard deviation if it has one.

    A dash if there is nothing to take it of.
    """
    values = known(values)
    if not values:
        return '-'
    spread = spread_over_seeds(values)
    text = f'{100 * spread.mean:.1f}'
    if spread.seeds > 1:
        text += f' ± {100 * spread.std:.1f}'
    return text


def markdown(records: Records, classes: bool = False) -> str:
    """Write the tables.

    Args:
        records (Sequence[dict]): Recorded runs.
        classes (bool): Add a table of the classes for each row. Defaults to
            False.

    Returns:
        str: Markdown.
    """
    groups = group_records(records)
    lines = head(['run', 'tested on', 'seeds', 'minutes', *COLUMNS])
    for (name, split), runs in groups.items():
        scores = [run['metrics'][split] for run in runs]
        minutes = statistics.fmean(run['minutes'] for run in runs)
        seeds = ', '.join(str(run['seed']) for run in runs)
        figures = [percent([s[key] for s in scores]) for key in COLUMNS]
        lines.append(row([name, split, seeds, f'{minutes:.0f}', *figures]))
    for (name, split), runs in groups.items() if classes else ():
        scores = [run['metrics'][split] for run in runs]
        lines += ['', f'{name}, {split}:', '']
        lines += head(['class', *CLASS_COLUMNS])
        for cls in record_classes(scores):
            figures = [
                percent([s.get(f'{cls}_{key}') for s in scores])
                for key in CLASS_COLUMNS
            ]
            lines.append(row([cls, *figures]))
    return '\n'.join(lines)
