"""Which class is taken for which, at one confidence threshold."""

from typing import Any, Dict, Sequence

import numpy as np

from .detection_curves import box_iou
from .image_verdicts import to_arrays


def confusion_matrix(
    truth: Dict[str, Any],
    detections: Sequence[Dict[str, Any]],
    score_thr: float,
    iou_thr: float = 0.5,
) -> np.ndarray:
    """Count pairs of true and detected class.

    Boxes are paired whatever their classes: of all pairs of an image with an
    IoU of at least ``iou_thr``, the one with the largest IoU first, each box
    once. A truth box without a pair is missed, a detection without one is
    false. Ignored boxes (``iscrowd``) are no truth.

    Args:
        truth (dict): COCO data set, ``*.gt.json`` of ``DefectMetric``.
        detections (Sequence[dict]): COCO results, ``*.bbox.json``.
        score_thr (float): Detections with a lower score do not count.
        iou_thr (float): Defaults to 0.5.

    Returns:
        np.ndarray: Counts (K + 1, K + 1), int. Rows are true classes in the
        order of ``categories`` and last what is no defect, columns detected
        classes and last what was missed.
    """
    rows = {cat['id']: i for i, cat in enumerate(truth['categories'])}
    nothing = len(rows)
    matrix = np.zeros((nothing + 1, nothing + 1), int)
    boxes = {image['id']: ([], []) for image in truth['images']}
    for box in truth['annotations']:
        if not box.get('iscrowd'):
            boxes[box['image_id']][0].append(box)
    for box in detections:
        if box['score'] >= score_thr:
            boxes[box['image_id']][1].append(box)
    for true, found in boxes.values():
        gt_bboxes, gt_labels = to_arrays(true)
        bboxes, labels = to_arrays(found)
        ious = box_iou(gt_bboxes, bboxes)
        for gt, det in pair_boxes(ious, iou_thr):
            matrix[rows[gt_labels[gt]], rows[labels[det]]] += 1
            gt_labels[gt] = labels[det] = -1
        for label in gt_labels[gt_labels >= 0]:
            matrix[rows[label], nothing] += 1
        for label in labels[labels >= 0]:
            matrix[nothing, rows[label]] += 1
    return matrix


def pair_boxes(ious: np.ndarray, iou_thr: float) -> list:
    """Pair boxes, those with the largest IoU first, each once.

    Args:
        ious (np.ndarray): IoUs (M, N).
        iou_thr (float): Smallest IoU of a pair.

    Returns:
        list[tuple[int, int]]: Row and column of each pair.
    """
    pairs, used_rows, used_columns = [], set(), set()
    for flat in np.argsort(-ious, axis=None, kind='stable'):
        row, column = divmod(int(flat), ious.shape[1])
        if ious[row, column] < iou_thr:
            break
        if row not in used_rows and column not in used_columns:
            used_rows.add(row)
            used_columns.add(column)
            pairs.append((row, column))
    return pairs
