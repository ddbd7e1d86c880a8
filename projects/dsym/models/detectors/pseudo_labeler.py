from typing import Callable, List, NamedTuple, Optional, Sequence

from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from torch import nn

from ...errors import InputError
from .chosen_images import refuse_images
from .doubtful_boxes import doubtful_boxes
from .pseudo_records import PseudoRecord, split_by_weight
from .taught_classes import leave_out

Filter = Callable[
    [Sequence[DetDataSample], List[InstanceData]], List[InstanceData]
]
Labeler = Callable[[Sequence[DetDataSample]], List[InstanceData]]


class PseudoLabels(NamedTuple):
    """What the student learns of each image, in pixels of the original.

    Attributes:
        labels (list[InstanceData]): Selected boxes that passed the filter.
        doubtful (list[InstanceData]): Neither objects nor background.
        records (list[PseudoRecord]): The boxes of every stage.
    """

    labels: List[InstanceData]
    doubtful: List[InstanceData]
    records: List[PseudoRecord]


class PseudoLabeler:
    """From the boxes of a teacher to pseudo-labels, stage by stage.

    Args:
        untaught (list[int]): Of :func:`untaught_classes`.
        doubtful (dict, optional): Options of :func:`doubtful_boxes`. Defaults
            to None, no doubtful boxes: for heads that cannot ignore them.

    Attributes:
        judge (callable, optional): Takes samples and boxes, gives boxes.
        before_selection (bool): Whether it judges before the selector.
        predict (callable, optional): Gives boxes in place of the teacher.
    """

    def __init__(self, untaught: List[int], doubtful: Optional[dict]) -> None:
        self.untaught = untaught
        self.doubtful = doubtful
        self.judge: Optional[Filter] = None
        self.before_selection = False
        self.predict: Optional[Labeler] = None

    def check_no_judge(self) -> None:
        """Raise :class:`InputError` if there is a judge."""
        if self.judge is not None:
            raise InputError(
                'DSYMDetector: two components, such as TrueLabelsHook and '
                'CLIPFilterHook, are to judge the pseudo-labels: keep one of '
                'them in custom_hooks, or attach_filter(None) first'
            )

    def __call__(
        self,
        samples: Sequence[DetDataSample],
        predicted: List[InstanceData],
        selector: nn.Module,
    ) -> PseudoLabels:
        """Select and judge.

        Args:
            samples (list[DetDataSample]): Of the images.
            predicted (list[InstanceData]): Of each ``bboxes`` in pixels of
                the original, ``scores``, ``labels`` and ``rows``.
            selector (nn.Module): Of the detector, whose state is saved.

        Returns:
            PseudoLabels: Those of each image.
        """
        judge, before = self.judge, self.before_selection
        predicted = leave_out(predicted, self.untaught)
        stages = dict(predicted=predicted)
        if judge is not None and before:
            predicted = leave_out(judge(samples, predicted), self.untaught)
            stages['rescored'] = predicted
        asked = refuse_images(None if before else judge, samples, predicted)
        labels = stages['selected'] = [selector(boxes) for boxes in asked]
        if judge is not None and not before:
            labels = leave_out(judge(samples, labels), self.untaught)
            stages['filtered'] = labels
        stages.update(split_by_weight(labels))
        doubtful = [boxes[:0] for boxes in predicted]
        if self.doubtful is not None:
            doubtful = stages['doubtful'] = [
                doubtful_boxes(*boxes, selector, **self.doubtful)
                for boxes in zip(predicted, labels)
            ]
        records = [
            PseudoRecord(sample.img_path, dict(zip(stages, boxes)))
            for sample, *boxes in zip(samples, *stages.values())
        ]
        return PseudoLabels(labels, doubtful, records)
