"""What is right and wrong on each image, at one confidence threshold."""

from dataclasses import dataclass
from typing import Any, Dict, List, Sequence, Tuple

import numpy as np

from .detection_curves import box_iou, match_detections

IOU_THR = np.array([0.5], dtype=np.float32)


@dataclass
class ImageVerdict:
    """Truth and detections of one image.

    Attributes:
        image (dict): Its entry under ``images`` of the COCO data set.
        truth (list[dict]): COCO annotations (M), ignored ones left out.
        detections (list[dict]): COCO results (N) in falling order of score.
        true (np.ndarray): Whether a detection is true, bool (N, ).
        found (np.ndarray): Whether a truth box is found, bool (M, ).
    """

    image: Dict[str, Any]
    truth: List[Dict[str, Any]]
    detections: List[Dict[str, Any]]
    true: np.ndarray
    found: np.ndarray

    @property
    def true_positives(self) -> int:
        """int: Detections that are true."""
        return int(self.true.sum())

    @property
    def false_positives(self) -> int:
        """int: Detections that are false."""
        return len(self.true) - self.true_positives

    @property
    def missed(self) -> int:
        """int: Truth boxes that no detection got."""
        return len(self.truth) - self.true_positives

    @property
    def errors(self) -> int:
        """int: False detections and missed truth boxes."""
        return self.false_positives + self.missed

    @property
    def f1(self) -> float:
        """float: 2 TP / (2 TP + FP + FN); 0 on an image without either."""
        total = 2 * self.true_positives + self.errors
        return 2 * self.true_positives / total if total else 0.0


def to_arrays(
    boxes: Sequence[Dict[str, Any]],
) -> Tuple[np.ndarray, np.ndarray]:
    """Take corners and classes out of COCO annotations or results.

    Args:
        boxes (Sequence[dict]): With ``bbox`` in xywh and ``category_id``.

    Returns:
        tuple[np.ndarray, np.ndarray]: Boxes (N, 4), xyxy in pixels, and
        category ids (N, ).
    """
    bboxes = np.array([box['bbox'] for box in boxes], float).reshape(-1, 4)
    bboxes[:, 2:] += bboxes[:, :2]
    return bboxes, np.array([box['category_id'] for box in boxes], int)


def judge_images(
    truth: Dict[str, Any],
    detections: Sequence[Dict[str, Any]],
    score_thr: float,
) -> List[ImageVerdict]:
    """Judge every image at IoU 0.5.

    A detection is true by the rule of
    :func:`~dsym.evaluation.detection_curves.match_detections`, which is
    behind ``DefectMetric``'s ``precision`` and ``recall``. Ignored boxes
    (``iscrowd``) are no truth.

    Args:
        truth (dict): COCO data set, ``*.gt.json`` of ``DefectMetric``.
        detections (Sequence[dict]): COCO results, ``*.bbox.json``.
        score_thr (float): Detections with a lower score do not count.

    Returns:
        list[ImageVerdict]: In the order of the images.
    """
    true_boxes: Dict[int, list] = {x['id']: [] for x in truth['images']}
    found_boxes: Dict[int, list] = {x['id']: [] for x in truth['images']}
    for box in truth['annotations']:
        if not box.get('iscrowd'):
            true_boxes[box['image_id']].append(box)
    for box in detections:
        if box['score'] >= score_thr:
            found_boxes[box['image_id']].append(box)
    return [
        _judge(image, true_boxes[image['id']], found_boxes[image['id']])
        for image in truth['images']
    ]


def _judge(
    image: Dict[str, Any], truth: List[dict], detections: List[dict]
) -> ImageVerdict:
    detections = sorted(detections, key=lambda box: -box['score'])
    gt_bboxes, gt_labels = to_arrays(truth)
    bboxes, labels = to_arrays(detections)
    true = match_detections(bboxes, labels, gt_bboxes, gt_labels, IOU_THR)
    true = true[:, 0]
    found = np.zeros(len(truth), bool)
    if true.any():
        ious = box_iou(gt_bboxes, bboxes)
        ious[gt_labels[:, None] != labels[None]] = -1
        found[ious[:, true].argmax(axis=0)] = True
    return ImageVerdict(image, truth, detections, true, found)


def rank_images(
    verdicts: Sequence[ImageVerdict], num_images: int
) -> Tuple[List[ImageVerdict], List[ImageVerdict]]:
    """Choose the best and the worst images.

    Best: the highest F1, of equal ones those with more truth boxes. Worst:
    the lowest F1, of equal ones those with more errors. Images without truth
    and detections are left out, and none is in both lists.

    Args:
        verdicts (Sequence[ImageVerdict]): Of all images.
        num_images (int): Length of each list, at most.

    Returns:
        tuple[list[ImageVerdict], list[ImageVerdict]]: Best and worst.
    """
    seen = [x for x in verdicts if x.truth or x.detections]
    best = sorted(seen, key=lambda x: (-x.f1, -len(x.truth)))[:num_images]
    best = [x for x in best if x.true_positives]
    rest = [x for x in seen if x.errors and not any(x is y for y in best)]
    worst = sorted(rest, key=lambda x: (x.f1, -x.errors))[:num_images]
    return best, worst
