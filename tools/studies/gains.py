"""What a part is worth: runs with it against runs of the same seed without."""

from statistics import fmean, stdev
from typing import Any, Dict, List, NamedTuple, Sequence, Tuple

from scipy.stats import t as student

from .plan import StudyError

CONFIDENCE = 0.95
Pair = Tuple[Dict[str, Any], Dict[str, Any]]  # with and without


class Gain(NamedTuple):
    """Differences of pairs of runs, in points of mAP@0.5.

    Attributes:
        each (list[float]): Of each pair, with the part less without.
        mean (float): Of the pairs.
        margin (float): Half of the 95% confidence interval of the mean, by
            Student's t; infinite for one pair.
    """

    each: List[float]
    mean: float
    margin: float

    def reaches(self, goal: float) -> str:
        """Whether a goal is reached: 'yes', 'no' or 'in the mean alone'.

        Args:
            goal (float): Points.

        Returns:
            str: 'yes' if chance alone would hardly give a mean above zero.
        """
        if self.mean < goal:
            return 'no'
        return 'yes' if self.mean > self.margin else 'in the mean alone'


def paired(
    runs: Sequence[Dict[str, Any]], controls: Sequence[Dict[str, Any]]
) -> List[Pair]:
    """Pair records of the same seed.

    Args:
        runs (Sequence[dict]): With the part, one a seed.
        controls (Sequence[dict]): Without it, one a seed.

    Returns:
        list[tuple[dict, dict]]: By seed.

    Raises:
        StudyError: If a seed is on one side alone.
    """
    sides = [{x['seed']: x for x in side} for side in (runs, controls)]
    alone = sorted(sides[0].keys() ^ sides[1].keys())
    if alone:
        raise StudyError(
            f'{runs[0]["name"]} and {controls[0]["name"]} are no pairs: seed '
            f'{alone[0]} is on one side alone: name the seeds that both have'
        )
    return [(sides[0][seed], sides[1][seed]) for seed in sorted(sides[0])]


def gain(pairs: Sequence[Pair], split: str) -> Gain:
    """Compare the pairs on one list of images.

    Args:
        pairs (Sequence[tuple[dict, dict]]): Records with and without.
        split (str): The list.

    Returns:
        Gain: Each pair's, and their mean.
    """
    scores = [[x['metrics'][split]['mAP_50'] for x in pair] for pair in pairs]
    # of figures with few digits: 0.6 - 0.5 is to be 0.1
    each = [round(100 * (a - b), 6) for a, b in scores]
    margin = float('inf')
    if len(each) > 1:
        quantile = student.ppf((1 + CONFIDENCE) / 2, len(each) - 1)
        margin = float(quantile) * stdev(each) / len(each) ** 0.5
    return Gain(each, fmean(each), margin)


def signed(value: float) -> str:
    """Points with their sign; none below zero that is zero when rounded."""
    return f'{round(value, 1) + 0.0:+.1f}'
