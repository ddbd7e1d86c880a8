"""Tables of recorded runs, with mean and standard deviation over seeds."""

import statistics
from typing import Any, Dict, List, Sequence, Tuple

COLUMNS = ('mAP_50', 'mAP', 'precision', 'recall', 'f1')
CLASS_COLUMNS = ('AP50', 'AP', 'precision', 'recall', 'f1')

Records = Sequence[Dict[str, Any]]


def row(cells: Sequence[object]) -> str:
    """Join cells to a row of a Markdown table."""
    return '| ' + ' | '.join(str(cell) for cell in cells) + ' |'


def head(cells: Sequence[str]) -> List[str]:
    """Head of a Markdown table."""
    return [row(cells), row(['---'] * len(cells))]


def percent(values: Sequence[float]) -> str:
    """Mean in percent, with the sample's standard deviation if it has one."""
    text = f'{100 * statistics.fmean(values):.1f}'
    if len(values) > 1:
        text += f' ± {100 * statistics.stdev(values):.1f}'
    return text


def group(records: Records) -> Dict[Tuple[str, str], List[Dict[str, Any]]]:
    """Group records by name and evaluation, in the order they are given."""
    groups: Dict[Tuple[str, str], List[Dict[str, Any]]] = {}
    for record in records:
        for split in record['metrics']:
            groups.setdefault((record['name'], split), []).append(record)
    return groups


def class_names(scores: Dict[str, float]) -> List[str]:
    """Classes that an evaluation has figures of."""
    names = [key[: -len('_AP')] for key in scores if key.endswith('_AP')]
    return [name for name in names if f'{name}_AP50' in scores]


def markdown(records: Records, classes: bool = False) -> str:
    """Write the tables.

    Args:
        records (Sequence[dict]): Recorded runs.
        classes (bool): Add a table of the classes for each row. Defaults to
            False.

    Returns:
        str: Markdown.
    """
    groups = group(records)
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
        for cls in class_names(scores[0]):
            figures = [
                percent([s[f'{cls}_{key}'] for s in scores])
                for key in CLASS_COLUMNS
            ]
            lines.append(row([cls, *figures]))
    return '\n'.join(lines)
