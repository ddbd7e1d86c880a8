from typing import Optional, Sequence

import torch
from mmengine.registry import TASK_UTILS
from mmengine.structures import InstanceData
from torch import Tensor, nn

from ...errors import InputError
from .checks import check_counts, check_means, check_shares

KEPT = 64  # boxes an image that can move a threshold


@TASK_UTILS.register_module()
class ClassThresholds(nn.Module):
    """Thresholds of each class that give as many boxes as there are defects.

    As LabelMatch (arXiv:2206.06608): labelled and unlabelled images come from
    one line, so a class has as many boxes an image in both. Its threshold is
    the score that so many of the teacher's boxes reach in the last ``window``
    images. One threshold for all would lose the classes that the teacher is
    never sure of, and the student would learn that they are background.

    Where many unlabelled images are good ones and the labelled ones are not,
    give the expected ``boxes_per_image``. Images that a filter refused before
    the selection do not count.

    A share ``certain`` of the boxes, the best of the class, counts fully; the
    others count as much as their scores (``weights``).

    Attributes:
        gives_weights (bool): Needs a head that knows them.

    Args:
        boxes_per_image (Sequence[float], optional): Of each class. Defaults
            to None, those of the labelled images, which
            :class:`MeanTeacherLoop` tells.
        certain (float): Defaults to 0.5.
        window (int): Images. Defaults to 256.
        start (float): Threshold of all classes until there have been a
            quarter of ``window`` images. Defaults to 0.4.
        lowest (float): No threshold is below it. Defaults to 0.1.

    Raises:
        InputError: If ``window`` is not 1 or more, a share or score is not
            from 0 to 1, or ``boxes_per_image`` is no list of numbers.
    """

    gives_weights = True

    def __init__(
        self,
        boxes_per_image: Optional[Sequence[float]] = None,
        certain: float = 0.5,
        window: int = 256,
        start: float = 0.4,
        lowest: float = 0.1,
    ) -> None:
        super().__init__()
        check_counts('ClassThresholds', window=window)
        check_shares(
            'ClassThresholds', certain=certain, start=start, lowest=lowest
        )
        if boxes_per_image is not None:
            check_means('ClassThresholds', boxes_per_image=boxes_per_image)
        self.boxes_per_image = boxes_per_image
        self.certain = certain
        self.start = start
        self.lowest = lowest
        # rows of the last images; a score of -1 is no box
        self.register_buffer('scores', torch.full((window, KEPT), -1.0))
        self.register_buffer('labels', torch.zeros(window, KEPT).long())
        self.register_buffer('images', torch.zeros(()).long())

    @property
    def num_classes(self) -> Optional[int]:
        """Of how many classes it knows what to expect; None of any yet."""
        return self.boxes_per_image and len(self.boxes_per_image)

    def set_labeled(self, boxes_per_image: Sequence[float]) -> None:
        """Take the labelled images' boxes of each class, unless some are set.

        Args:
            boxes_per_image (Sequence[float]): Mean number of each class.
        """
        if self.boxes_per_image is None:
            self.boxes_per_image = boxes_per_image

    def threshold(self, label: int, share: float = 1.0) -> float:
        """The score that a class's share of expected boxes reach.

        Args:
            label (int): The class.
            share (float): Of the expected boxes. Defaults to 1, all.

        Returns:
            float: The threshold.
        """
        window, seen = len(self.scores), int(self.images)
        if seen < window / 4:
            return self.start
        expected = self.boxes_per_image[label] * min(seen, window) * share
        known = self.scores[(self.labels == label) & (self.scores >= 0)]
        count = min(round(expected), len(known))
        if not count:
            return 1.0
        return max(self.lowest, float(known.topk(count).values[-1]))

    def forward(self, boxes: InstanceData) -> InstanceData:
        """As in :class:`ScoreThreshold`, with ``weights``.

        Raises:
            InputError: If nothing tells how many boxes to expect.
        """
        if self.boxes_per_image is None:
            raise InputError(
                'ClassThresholds knows no labelled images: train by '
                'MeanTeacherLoop, or set boxes_per_image of its config'
            )
        # a refused image has no labels, so none are expected of it
        if not boxes.get('refused'):
            self._remember(boxes)
        present = boxes.labels.unique().tolist()
        keep = torch.zeros_like(boxes.labels, dtype=torch.bool)
        weights = boxes.scores.clone()
        for label in present:
            own = boxes.labels == label
            keep |= own & (boxes.scores >= self.threshold(label))
            sure = boxes.scores >= self.threshold(label, self.certain)
            weights[own & sure] = 1
        boxes = boxes[keep]
        boxes.weights = weights[keep]
        return boxes

    def _remember(self, boxes: InstanceData) -> None:
        """Count an image and its best boxes."""
        row = int(self.images) % len(self.scores)
        count = min(KEPT, len(boxes))
        best = boxes.scores.topk(count).indices
        self.scores[row] = -1
        self.scores[row, :count] = boxes.scores[best]
        self.labels[row, :count] = boxes.labels[best]
        self.images += 1

    def floor(self, labels: Tensor) -> Tensor:
        """As in :class:`ScoreThreshold`."""
        floors = {x: self.threshold(x) for x in labels.unique().tolist()}
        return labels.new_tensor(
            [floors[x] for x in labels.tolist()], dtype=torch.float32
        )
