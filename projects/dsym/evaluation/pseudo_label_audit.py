"""How good pseudo-labels are, measured on truth that training never sees."""

import math
import os.path as osp
from dataclasses import dataclass
from typing import Any, Dict, Iterable, Sequence

import numpy as np
from mmengine.structures import InstanceData

from ..errors import InputError
from .defect_metric import to_numpy
from .detection_curves import match_detections

IOU_THR = np.array([0.5], dtype=np.float32)
# Not stages of the way, but what its end consists of: hard and soft targets,
# and boxes that are ignored instead of being background.
PARTS = ('certain', 'uncertain', 'doubtful')


def last_stage(stages: Iterable[str]) -> str:
    """Name the stage whose boxes are the pseudo-labels.

    Args:
        stages (Iterable[str]): Names in the order of the stages.

    Returns:
        str: The last one that is no part of another.
    """
    return [name for name in stages if name not in PARTS][-1]


def normalize_path(path: str) -> str:
    """Give a relative and an absolute path of one file the same text."""
    return osp.normpath(osp.abspath(path))


@dataclass
class StageCounts:
    """What was counted of one stage of the pseudo-labels.

    Attributes:
        boxes (np.ndarray): Pseudo-labels (K, ) of each class.
        true_positives (np.ndarray): Those (K, ) that match a truth box.
        truth (np.ndarray): Truth boxes (K, ) of the images seen.
        images (int): Images seen, one that is seen twice counts twice.
    """

    boxes: np.ndarray
    true_positives: np.ndarray
    truth: np.ndarray
    images: int

    def __add__(self, other: 'StageCounts') -> 'StageCounts':
        return StageCounts(
            self.boxes + other.boxes,
            self.true_positives + other.true_positives,
            self.truth + other.truth,
            self.images + other.images,
        )


class PseudoLabelAudit:
    """Precision and recall of pseudo-labels at IoU 0.5, stage by stage.

    A pseudo-label is true if it gets a truth box of its class as in
    :func:`~dsym.evaluation.detection_curves.match_detections`, in falling
    order of score: the matching behind ``DefectMetric``'s ``precision`` and
    ``recall``. Counts are pooled over images (and, overall, over classes).

    Args:
        truth (dict[str, InstanceData]): ``bboxes`` (M, 4) xyxy in pixels of
            the original image and ``labels`` (M, ) by image path; M may be 0.
        class_names (Sequence[str]): The K classes in label order.

    Raises:
        InputError: If a label of the truth is no class.
    """

    def __init__(
        self, truth: Dict[str, InstanceData], class_names: Sequence[str]
    ) -> None:
        self.class_names = tuple(class_names)
        self._truth = {}
        for path, instances in truth.items():
            labels = to_numpy(instances.labels).astype(int)
            self._check_labels(labels, path, 'truth')
            bboxes = to_numpy(instances.bboxes).reshape(-1, 4)
            self._truth[normalize_path(path)] = bboxes, labels
        self.reset()

    def reset(self) -> None:
        """Forget everything that was counted, keep the truth."""
        self.counts: Dict[str, StageCounts] = {}

    def add(self, img_path: str, stages: Dict[str, InstanceData]) -> None:
        """Judge the pseudo-labels of one image.

        Args:
            img_path (str): The image, relative or absolute.
            stages (dict[str, InstanceData]): ``bboxes`` (N, 4) xyxy in pixels
                of the original image, ``scores`` (N, ) and ``labels`` (N, )
                by the name of the stage, in the order of the stages.

        Raises:
            InputError: If the truth does not know the image, or a label is no
                class.
        """
        path = normalize_path(img_path)
        if path not in self._truth:
            raise InputError(
                f'{path} has pseudo-labels but no truth to audit them with: '
                "let the audit's dataset hold every unlabelled image"
            )
        gt_bboxes, gt_labels = self._truth[path]
        for stage, instances in stages.items():
            order = np.argsort(-to_numpy(instances.scores), kind='stable')
            bboxes = to_numpy(instances.bboxes)[order]
            labels = to_numpy(instances.labels).astype(int)[order]
            self._check_labels(labels, path, stage)
            hits = match_detections(
                bboxes, labels, gt_bboxes, gt_labels, IOU_THR
            )[:, 0]
            counted = StageCounts(
                self._per_class(labels),
                self._per_class(labels[hits]),
                self._per_class(gt_labels),
                images=1,
            )
            self.merge({stage: counted})

    def merge(self, counts: Dict[str, StageCounts]) -> None:
        """Add what was counted elsewhere, such as in another process.

        Args:
            counts (dict[str, StageCounts]): ``counts`` of another audit.
        """
        for stage, other in counts.items():
            known = self.counts.get(stage)
            self.counts[stage] = other if known is None else known + other

    def compute(self) -> Dict[str, Dict[str, Any]]:
        """Turn the counts into figures.

        Returns:
            dict[str, dict]: By stage ``boxes``, ``true_positives``,
            ``truth``, ``precision`` (NaN without boxes), ``recall`` (NaN
            without truth), ``images``, ``boxes_per_image`` and ``classes``,
            which holds the first five of every class by its name.
        """
        return {
            stage: dict(
                **_figures(
                    counts.boxes.sum(),
                    counts.true_positives.sum(),
                    counts.truth.sum(),
                ),
                images=counts.images,
                boxes_per_image=_ratio(counts.boxes.sum(), counts.images),
                classes={
                    name: _figures(
                        counts.boxes[label],
                        counts.true_positives[label],
                        counts.truth[label],
                    )
                    for label, name in enumerate(self.class_names)
                },
            )
            for stage, counts in self.counts.items()
        }

    def _per_class(self, labels: np.ndarray) -> np.ndarray:
        return np.bincount(labels, minlength=len(self.class_names))

    def _check_labels(self, labels: np.ndarray, path: str, what: str) -> None:
        num_classes = len(self.class_names)
        outside = labels[(labels < 0) | (labels >= num_classes)]
        if len(outside):
            raise InputError(
                f'{path}: label {outside[0]} in {what}, but the audit has '
                f'{num_classes} classes; set num_classes and metainfo alike'
            )


def _ratio(part: int, whole: int) -> float:
    return float(part / whole) if whole else math.nan


def _figures(boxes: int, true_positives: int, truth: int) -> Dict[str, Any]:
    return dict(
        boxes=int(boxes),
        true_positives=int(true_positives),
        truth=int(truth),
        precision=_ratio(true_positives, boxes),
        recall=_ratio(true_positives, truth),
    )


def nan_to_none(value: Any) -> Any:
    """Replace NaN and infinity, which JSON lacks, by None at any depth.

    Args:
        value (Any): Figures in dicts, lists and tuples.

    Returns:
        Any: A copy that JSON can hold.
    """
    if isinstance(value, dict):
        return {key: nan_to_none(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [nan_to_none(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
