"""Ratios of a benchmark beside those of a baseline."""

import json
import math
from pathlib import Path
from typing import Container, Dict, List, NamedTuple, Optional, Tuple

RATIO = 'speed_up', 'low', 'high'
TOLERANCE = 0.25  # of a ratio: two runs on one machine differ by up to 15%


class Row(NamedTuple):
    """One ratio, now and in the baseline.

    Attributes:
        name (str): Suite, comparison and peer.
        before (float, optional): None if the baseline does not have it.
        now (float, optional): None if it was not measured.
        fell (bool): Whether it is lower by more than the tolerance.
    """

    name: str
    before: Optional[float]
    now: Optional[float]
    fell: bool


def speed_ratios(report: dict) -> Dict[str, float]:
    """How many times as fast as each peer ours was.

    Args:
        report (dict): JSON of tools/benchmark.py.

    Returns:
        dict[str, float]: By comparison and peer; ours beside itself is left
        out.
    """
    found = {}
    for name, rows in report['results'].items():
        for peer, row in rows.items():
            if isinstance(row, dict) and 'ours_speed_up' in row:
                # as of ours beside itself, wherever a tool has sorted it to
                if any(row.get(f'ours_{x}') != 1 for x in RATIO):
                    found[f'{name}, {peer}'] = row['ours_speed_up']
    return found


def compare_with(
    report: dict, baseline: dict, tolerance: float = TOLERANCE
) -> List[Row]:
    """Put ratios beside those of a baseline.

    Args:
        report (dict): JSON of tools/benchmark.py.
        baseline (dict): Another one.
        tolerance (float): Share by which a ratio may fall. Defaults to
            :data:`TOLERANCE`.

    Returns:
        list[Row]: All of either. One that is no longer measured has fallen.
    """
    now, before = speed_ratios(report), speed_ratios(baseline)
    rows = []
    for name in {**before, **now}:
        old, new = before.get(name), now.get(name)
        fell = old is not None and (new is None or new < old * (1 - tolerance))
        rows.append(Row(name, old, new, fell))
    return rows


def only_of(report: dict, names: Container[str]) -> dict:
    """Leave comparisons out of a report.

    Args:
        report (dict): JSON of tools/benchmark.py.
        names (container[str]): Those to keep.

    Returns:
        dict: The report with their results alone.
    """
    results = report['results'].items()
    kept = {name: rows for name, rows in results if name in names}
    return dict(report, results=kept)


def as_table(rows: List[Row]) -> str:
    """Rows as text."""

    def number(value: Optional[float]) -> str:
        return '-' if value is None else f'{value:.2f}x'

    lines = [f'{"ours is as fast as":56s} {"baseline":>9s} {"now":>9s}']
    for row in rows:
        lines.append(
            f'{row.name[:56]:56s} {number(row.before):>9s} '
            f'{number(row.now):>9s}{"  FELL" if row.fell else ""}'
        )
    return '\n'.join(lines)


def read_baseline(path: Path) -> List[dict]:
    """Read the reports of a baseline.

    Args:
        path (Path): JSON with a list of reports, one for each kind of
            machine.

    Returns:
        list[dict]: All of them.

    Raises:
        ValueError: If it is something else.
    """
    try:
        reports = json.loads(path.read_text())
        for report in reports:
            kind_of(report)
            if not math.isfinite(sum(speed_ratios(report).values())):
                raise ValueError('a ratio that nothing falls below')
    except (ValueError, LookupError, TypeError, AttributeError):
        reports = None
    if not isinstance(reports, list):
        raise ValueError(f'{path} is no list of reports')
    return reports


def kind_of(report: dict) -> Tuple[List[str], int, int]:
    """What ratios depend on: the processor's units, cores and the threads.

    Args:
        report (dict): JSON of tools/benchmark.py.

    Returns:
        tuple: ``machine.features``, ``machine.cores`` and ``threads``.
    """
    machine = report['machine']
    return machine['features'], machine['cores'], report['threads']


def of_the_same_kind(reports: List[dict], report: dict) -> Optional[dict]:
    """The baseline's report from a machine of the same kind.

    bfloat16 units speed up ours and not a peer in float32, and two processes
    gain on four cores what they do not on two: ratios of another kind of
    machine say nothing.

    Args:
        reports (list[dict]): Of a baseline.
        report (dict): What is compared.

    Returns:
        dict, optional: None if there is none.
    """
    kind = kind_of(report)
    return next((x for x in reports if kind_of(x) == kind), None)
