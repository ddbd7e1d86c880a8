"""The records of a study: one JSON a run, grouped over seeds."""

import statistics
from typing import Any, Dict, List, NamedTuple, Sequence, Tuple

Records = Sequence[Dict[str, Any]]


class Spread(NamedTuple):
    """A figure over the seeds of a run.

    Attributes:
        mean (float): Mean over the seeds.
        std (float): The sample's standard deviation; 0 for one seed.
        seeds (int): How many seeds.
    """

    mean: float
    std: float
    seeds: int


def group_records(
    records: Records,
) -> Dict[Tuple[str, str], List[Dict[str, Any]]]:
    """Group records by name and evaluation, in the order they are given.

    Args:
        records (Sequence[dict]): Recorded runs of ``tools/study.py``.

    Returns:
        dict[tuple[str, str], list[dict]]: Records of all seeds.
    """
    groups: Dict[Tuple[str, str], List[Dict[str, Any]]] = {}
    for record in records:
        for split in record['metrics']:
            groups.setdefault((record['name'], split), []).append(record)
    return groups


def record_classes(scores: Dict[str, float]) -> List[str]:
    """Classes that an evaluation has figures of.

    Args:
        scores (dict[str, float]): One of a record's ``metrics``.

    Returns:
        list[str]: Class names.
    """
    names = [key[: -len('_AP')] for key in scores if key.endswith('_AP')]
    return [name for name in names if f'{name}_AP50' in scores]


def spread_over_seeds(values: Sequence[float]) -> Spread:
    """Mean and standard deviation of a figure over seeds.

    Args:
        values (Sequence[float]): One a seed.

    Returns:
        Spread: Their mean, deviation and number.
    """
    std = statistics.stdev(values) if len(values) > 1 else 0.0
    return Spread(statistics.fmean(values), std, len(values))
