from typing import Tuple

import numpy as np
import torch
from mmengine.dist import all_reduce
from mmengine.registry import TASK_UTILS
from mmengine.structures import InstanceData
from torch import Tensor, nn

from ...errors import InputError
from .checks import check_counts, check_shares

EM_STEPS = 30  # of expectation and maximization


@TASK_UTILS.register_module()
class ScoreThreshold(nn.Module):
    """Keep boxes of at least one score, as hard targets.

    Args:
        score_thr (float): Defaults to 0.5.
        by (str): What is compared with it: ``'scores'``, or ``'confidences'``
            of a MambaHead with that branch, which tell how well a box fits,
            whatever is in it. Defaults to ``'scores'``.

    Raises:
        InputError: If ``score_thr`` is not a number from 0 to 1.
    """

    def __init__(self, score_thr: float = 0.5, by: str = 'scores') -> None:
        super().__init__()
        check_shares('ScoreThreshold', score_thr=score_thr)
        self.score_thr = score_thr
        self.by = by

    def forward(self, boxes: InstanceData) -> InstanceData:
        """Select.

        Args:
            boxes (InstanceData): The teacher's of one image: ``bboxes``,
                ``scores``, ``labels``.

        Returns:
            InstanceData: Those that the student learns from.

        Raises:
            InputError: If the boxes have no such field.
        """
        if self.by not in boxes:
            raise InputError(
                f'ScoreThreshold: by={self.by!r}: the teacher gives '
                f'{", ".join(boxes.keys())}; MambaHeadModule('
                'with_confidence=True) gives confidences'
            )
        return boxes[boxes[self.by] >= self.score_thr]

    def floor(self, labels: Tensor) -> Tensor:
        """The lowest score that is kept of each label's class."""
        return torch.full_like(labels, self.score_thr, dtype=torch.float32)


@TASK_UTILS.register_module()
class TwoThresholds(nn.Module):
    """Certain boxes as hard targets, uncertain ones as soft ones.

    As Efficient Teacher (arXiv:2302.07577): a box of at least ``high`` counts
    fully; one between the two counts as much as its score, ``weights``, so
    that its places are neither objects nor background with certainty.

    Args:
        low (float): Defaults to 0.1.
        high (float): Defaults to 0.6.

    Attributes:
        gives_weights (bool): Needs a head that knows them.

    Raises:
        InputError: If ``low`` is above ``high``, or one is not from 0 to 1.
    """

    gives_weights = True

    def __init__(self, low: float = 0.1, high: float = 0.6) -> None:
        super().__init__()
        check_shares('TwoThresholds', low=low, high=high)
        if low > high:
            raise InputError(
                f'TwoThresholds: low={low} is above high={high}: exchange them'
            )
        self.low = low
        self.high = high

    def forward(self, boxes: InstanceData) -> InstanceData:
        """As in :class:`ScoreThreshold`, with ``weights``."""
        boxes = boxes[boxes.scores >= self.low]
        certain = boxes.scores >= self.high
        boxes.weights = torch.where(certain, 1.0, boxes.scores)
        return boxes

    def floor(self, labels: Tensor) -> Tensor:
        """As in :class:`ScoreThreshold`."""
        return torch.full_like(labels, self.low, dtype=torch.float32)


@TASK_UTILS.register_module()
class MixtureThreshold(nn.Module):
    """A threshold of each class that fits itself to the scores.

    As Consistent-Teacher (arXiv:2209.01589): the latest scores of a class are
    a mixture of two Gaussians, of wrong and of right boxes; the threshold is
    the least score that belongs to the upper one. Classes that the teacher is
    less sure of get a lower threshold, and all rise as it learns.

    Args:
        num_classes (int): Number of classes.
        capacity (int): Scores kept of each class. Defaults to 256.
        interval (int): Images between two fits. Defaults to 64.
        start (float): Threshold before the first fit. Defaults to 0.5.
        bounds (tuple[float]): The lowest and highest threshold. Defaults to
            (0.2, 0.9).

    Raises:
        InputError: If a threshold is not from 0 to 1, a number is not 1 or
            more, or ``bounds`` are not two.
    """

    def __init__(
        self,
        num_classes: int,
        capacity: int = 256,
        interval: int = 64,
        start: float = 0.5,
        bounds: Tuple[float, float] = (0.2, 0.9),
    ) -> None:
        super().__init__()
        check_counts(
            'MixtureThreshold',
            num_classes=num_classes,
            capacity=capacity,
            interval=interval,
        )
        try:
            lowest, highest = bounds
        except (TypeError, ValueError):
            raise InputError(
                f'MixtureThreshold: bounds={bounds!r}: give two numbers, the '
                'lowest and the highest threshold'
            ) from None
        check_shares(
            'MixtureThreshold', start=start, lowest=lowest, highest=highest
        )
        self.num_classes = num_classes
        self.interval = interval
        self.bounds = bounds
        # of each class a ring; -1 is an empty place
        self.register_buffer(
            'scores', torch.full((num_classes, capacity), -1.0)
        )
        self.register_buffer('counts', torch.zeros(num_classes).long())
        self.register_buffer('thresholds', torch.full((num_classes,), start))
        self.register_buffer('images', torch.zeros(()).long())

    def forward(self, boxes: InstanceData) -> InstanceData:
        """As in :class:`ScoreThreshold`."""
        capacity = self.scores.size(1)
        for label, score in zip(boxes.labels.tolist(), boxes.scores):
            self.scores[label, self.counts[label] % capacity] = score
            self.counts[label] += 1
        self.images += 1
        if self.images % self.interval == 0:
            for label, ring in enumerate(self.scores.cpu().numpy()):
                known = ring[ring >= 0]
                # a fit to fewer would be one to single boxes
                if len(known) >= 16:
                    threshold = split_by_mixture(known)
                    self.thresholds[label] = np.clip(threshold, *self.bounds)
            all_reduce(self.thresholds, 'mean')
        return boxes[boxes.scores >= self.thresholds[boxes.labels]]

    def floor(self, labels: Tensor) -> Tensor:
        """As in :class:`ScoreThreshold`."""
        return self.thresholds[labels]


def split_by_mixture(values: np.ndarray) -> float:
    """Fit two Gaussians and find where the upper one begins.

    Args:
        values (np.ndarray): Scores ``(n,)``.

    Returns:
        float: The least value that more likely belongs to the Gaussian with
        the higher mean and is not below the lower one's mean.
    """
    x = values.astype(np.float64)[:, None]
    means = np.percentile(x, [10, 90])
    deviations = np.full(2, max(x.std(), 1e-3))
    shares = np.full(2, 0.5)
    for _ in range(EM_STEPS):
        density = (
            shares
            / deviations
            * np.exp(-0.5 * ((x - means) / deviations) ** 2)
        )
        belongs = density / np.maximum(density.sum(1, keepdims=True), 1e-300)
        mass = np.maximum(belongs.sum(0), 1e-9)
        means = (belongs * x).sum(0) / mass
        spread = (belongs * (x - means) ** 2).sum(0) / mass
        deviations = np.sqrt(np.maximum(spread, 1e-6))
        shares = mass / len(x)
    upper = means.argmax()
    chosen = x[(belongs[:, upper] > 0.5) & (x[:, 0] >= means.min())]
    return float(chosen.min() if len(chosen) else x.max())
