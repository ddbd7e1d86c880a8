"""The records of a study: one JSON a run, grouped over seeds."""

import re
import statistics
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Set, Tuple

from ..errors import InputError

Records = Sequence[Dict[str, Any]]
# Which tell runs of one name apart, the plainest first.
DETAILS = ('folder', 'config', 'trainer', 'options')


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
    """Group records by run and evaluation, in the order they are given.

    Args:
        records (Sequence[dict]): Recorded runs of ``tools/study.py``;
            ``folder``, where they have one, is where they were read.

    Returns:
        dict[tuple[str, str], list[dict]]: Records of all seeds by name and
        evaluation; behind the name of several runs stands what they differ
        in.

    Raises:
        InputError: If a run has a seed twice.
    """
    groups: Dict[Tuple[str, str], List[Dict[str, Any]]] = {}
    for record, label in zip(records, run_labels(records)):
        for split in record['metrics']:
            group = groups.setdefault((label, split), [])
            if record['seed'] in [other['seed'] for other in group]:
                raise InputError(
                    f'{label} has seed {record["seed"]} twice on {split}: '
                    'name each record once and no copies'
                )
            group.append(record)
    return groups


def run_labels(records: Records) -> List[str]:
    """What to call the run of each record.

    Args:
        records (Sequence[dict]): Recorded runs.

    Returns:
        list[str]: The name; of several runs that share it, as many details
        as tell them apart.
    """
    runs: Dict[str, Set[Tuple[str, ...]]] = {}
    details = details_of(records)
    for record, detail in zip(records, details):
        runs.setdefault(record['name'], set()).add(detail)
    labels = []
    for record, detail in zip(records, details):
        others, count = runs[record['name']], 0
        while len({other[:count] for other in others}) < len(others):
            count += 1
        said = ', '.join(filter(None, detail[:count]))
        labels.append(record['name'] + (f' ({said})' if said else ''))
    return labels


def details_of(records: Records) -> List[Tuple[str, ...]]:
    """Values of ``DETAILS`` of each record; '' for those that it lacks.

    A study may write ``x_seed{seed}`` or ``x_seed2``. Options that name the
    own seed mean each seed's own, unless another seed has the very same: then
    all of them begin with what one has left.
    """
    written = [(record['name'], options_of(record)) for record in records]
    seeds: Dict[Tuple[str, str], Set[int]] = {}
    for record, key in zip(records, written):
        seeds.setdefault(key, set()).add(record['seed'])
    details = []
    for record, (name, options) in zip(records, written):
        if len(seeds[name, options]) == 1:
            own = rf'seed{record["seed"]}(?!\d)'
            options = re.sub(own, 'seed{seed}', options)
        texts = dict(record, options=options)
        details.append(tuple(str(texts.get(key, '')) for key in DETAILS))
    return details


def options_of(record: Dict[str, Any]) -> str:
    """A record's overrides as one text."""
    options = record.get('options') or {}
    return ' '.join(f'{key}={options[key]}' for key in sorted(options))


def record_classes(evaluations: Sequence[Dict[str, float]]) -> List[str]:
    """Classes that any of several evaluations has figures of.

    Args:
        evaluations (Sequence[dict[str, float]]): Each one of a record's
            ``metrics``.

    Returns:
        list[str]: Class names.
    """
    return list(
        dict.fromkeys(
            key[: -len('_AP')]
            for scores in evaluations
            for key in scores
            if key.endswith('_AP') and f'{key}50' in scores
        )
    )


def known(values: Sequence[Optional[float]]) -> List[float]:
    """Leave out figures without a value: None, or -1 for want of truth."""
    return [value for value in values if value is not None and value >= 0]


def spread_over_seeds(values: Sequence[float]) -> Spread:
    """Mean and standard deviation of a figure over seeds.

    Args:
        values (Sequence[float]): One a seed.

    Returns:
        Spread: Their mean, deviation and number.
    """
    std = statistics.stdev(values) if len(values) > 1 else 0.0
    return Spread(statistics.fmean(values), std, len(values))
