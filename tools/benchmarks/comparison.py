"""Contenders compared with the first of them, in a table."""

import argparse
from pathlib import Path
from typing import Any, Dict, Iterator, Tuple, Union

from .alternation import Turns, alternate, count_of, ratios

Results = Iterator[Tuple[str, Dict[str, Any]]]
CONFIGS = Path(__file__).resolve().parents[2] / 'configs'


def compare(
    title: str,
    contenders: Dict[str, Any],
    images: Union[int, Dict[str, int]],
    args: argparse.Namespace,
    **turns_as,
) -> Dict[str, Any]:
    """Time contenders and print a table.

    Args:
        title (str): Its heading.
        contenders (dict): By name, what :func:`alternate` takes; the first is
            ours.
        images (int or dict[str, int]): Of a step, of all or of each.
        args (argparse.Namespace): ``rounds`` and ``steps``.
        **turns_as: Arguments of :func:`alternate` that differ from them.

    Returns:
        dict[str, dict]: By name: ``images_per_second`` of the best round,
        ``seconds``, the median of the ``steps`` of each of the ``rounds``,
        ``peak_mib``, and our :func:`ratios` to it, ``ours_...``.
    """
    if isinstance(images, int):
        images = dict.fromkeys(contenders, images)
    print(f'\n{title}', flush=True)
    plan = {'rounds': args.rounds, 'steps': args.steps, **turns_as}
    turns = alternate(contenders, **plan)
    ours = next(iter(turns))
    rows = {}
    for name, turn in turns.items():
        best = min(turn.seconds)
        rows[name] = dict(
            images_per_second=images[name] / best,
            seconds=turn.seconds,
            rounds=plan['rounds'],
            steps=count_of(plan['steps'], name),
            peak_mib=turn.peak_mib,
            **{f'ours_{k}': v for k, v in ratios(turns[ours], turn).items()},
        )
        row = rows[name]
        print(
            f'{name:32s} {row["images_per_second"]:7.1f} img/s '
            f'{turn.peak_mib:6.0f} MiB | ours is '
            f'{row["ours_speed_up"]:.2f}x as fast '
            f'({row["ours_low"]:.2f}-{row["ours_high"]:.2f}), '
            f'{row["ours_memory"]:.2f}x the memory',
            flush=True,
        )
    return rows


def paired(ours: Dict[str, Any], peer: Dict[str, Any]) -> Dict[str, float]:
    """Compare two rows of one table round by round.

    Args:
        ours (dict): A row of :func:`compare`.
        peer (dict): Another one.

    Returns:
        dict[str, float]: As :func:`ratios`.
    """
    return ratios(
        *(Turns(row['seconds'], row['peak_mib']) for row in (ours, peer))
    )
