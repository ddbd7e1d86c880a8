"""Precision, recall and F1 over confidence, as YOLOv9 evaluates them.

Every detection is first judged true or false at each IoU threshold
(:func:`match_detections`); the judged detections of the whole set then give
one curve a class (:func:`compute_detection_curves`). Written from the
description of the official evaluation, so that figures can be compared with
those the YOLO papers print.
"""

from dataclasses import dataclass
from typing import Sequence

import numpy as np
from scipy.integrate import trapezoid

# 0.50, 0.55 ... 0.95, in the precision that the detections come in.
IOU_THRS = np.linspace(0.5, 0.95, 10).astype(np.float32)
# Confidences at which the curves are sampled, and the share of them that the
# box filter spans before the best threshold is chosen.
NUM_CONFIDENCES = 1000
SMOOTHING = 0.1
# Recalls at which precision is averaged to AP.
AP_RECALLS = np.linspace(0, 1, 101)
EPS_IOU = 1e-7
EPS = 1e-16


def box_iou(bboxes1: np.ndarray, bboxes2: np.ndarray) -> np.ndarray:
    """IoU of every pair of boxes, in float32.

    Boxes are continuous: a box is ``x2 - x1`` wide, without a pixel more.

    Args:
        bboxes1 (np.ndarray): Boxes (M, 4), xyxy in pixels.
        bboxes2 (np.ndarray): Boxes (N, 4), xyxy in pixels.

    Returns:
        np.ndarray: IoUs (M, N).
    """
    bboxes1 = bboxes1.astype(np.float32)[:, None]
    bboxes2 = bboxes2.astype(np.float32)[None]
    sides = np.minimum(bboxes1[..., 2:], bboxes2[..., 2:]) - np.maximum(
        bboxes1[..., :2], bboxes2[..., :2]
    )
    overlap = sides.clip(min=0).prod(axis=-1)
    areas1 = (bboxes1[..., 2:] - bboxes1[..., :2]).prod(axis=-1)
    areas2 = (bboxes2[..., 2:] - bboxes2[..., :2]).prod(axis=-1)
    return overlap / (areas1 + areas2 - overlap + np.float32(EPS_IOU))


def match_detections(
    det_bboxes: np.ndarray,
    det_labels: np.ndarray,
    gt_bboxes: np.ndarray,
    gt_labels: np.ndarray,
    iou_thrs: np.ndarray = IOU_THRS,
) -> np.ndarray:
    """Judge the detections of one image, each IoU threshold by itself.

    A detection asks for the truth box of its class that it overlaps most. Of
    all detections that ask for the same box the first one gets it, the
    others are false. Detections must therefore come in falling order of
    score, as every NMS leaves them.

    Args:
        det_bboxes (np.ndarray): Boxes (N, 4), xyxy in pixels.
        det_labels (np.ndarray): Class indices (N, ).
        gt_bboxes (np.ndarray): Boxes (M, 4), xyxy in pixels.
        gt_labels (np.ndarray): Class indices (M, ).
        iou_thrs (np.ndarray): Thresholds (T, ). Defaults to 0.50 to 0.95 in
            steps of 0.05.

    Returns:
        np.ndarray: True positives, bool (N, T).
    """
    true_positives = np.zeros((len(det_bboxes), len(iou_thrs)), dtype=bool)
    if not len(det_bboxes) or not len(gt_bboxes):
        return true_positives
    ious = box_iou(gt_bboxes, det_bboxes)
    ious[gt_labels[:, None] != det_labels[None]] = -1
    close_gts, close_dets = np.nonzero(ious >= iou_thrs.min())
    close_ious = ious[close_gts, close_dets]
    for column, iou_thr in enumerate(iou_thrs):
        reach = close_ious >= iou_thr
        if not reach.any():
            continue
        gts, dets = close_gts[reach], close_dets[reach]
        # NumPy keeps the last of repeated writes: the largest IoU here. Its
        # default sort settles equal IoUs as it does in the official code.
        rising = np.argsort(close_ious[reach])
        asked = np.full(len(det_bboxes), -1)
        asked[dets[rising]] = gts[rising]
        askers = np.flatnonzero(asked >= 0)[::-1]
        winners = np.full(len(gt_bboxes), -1)
        winners[asked[askers]] = askers
        true_positives[winners[winners >= 0], column] = True
    return true_positives


@dataclass
class DetectionCurves:
    """Curves of the K classes that have truth, at IoU 0.5, and their APs.

    Attributes:
        labels (np.ndarray): Class indices (K, ), rising.
        confidence (np.ndarray): Confidence thresholds (1000, ) from 0 to 1.
        precision (np.ndarray): Precision (K, 1000) at those thresholds.
        recall (np.ndarray): Recall (K, 1000) at those thresholds.
        f1 (np.ndarray): F1 (K, 1000) at those thresholds.
        best (int): Index of the threshold with the highest smoothed mean F1.
        pr_recall (np.ndarray): Recalls (101, ) from 0 to 1.
        pr_precision (np.ndarray): Precision envelope (K, 101) over them.
        ap (np.ndarray): Average precision (K, T) a class and IoU threshold.
    """

    labels: np.ndarray
    confidence: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    f1: np.ndarray
    best: int
    pr_recall: np.ndarray
    pr_precision: np.ndarray
    ap: np.ndarray

    @property
    def best_thr(self) -> float:
        """float: The confidence of the highest smoothed mean F1."""
        return float(self.confidence[self.best])


def smooth(values: np.ndarray, fraction: float) -> np.ndarray:
    """Box filter over an odd number of samples, edges continued.

    Args:
        values (np.ndarray): Samples (N, ).
        fraction (float): The filter's width, as a share of N.

    Returns:
        np.ndarray: Smoothed samples (N, ).
    """
    half = round(2 * fraction * len(values)) // 2 // 2
    width = 2 * half + 1
    padded = np.pad(values, half, mode='edge')
    return np.convolve(padded, np.full(width, 1 / width), mode='valid')


def precision_envelope(
    recall: np.ndarray, precision: np.ndarray
) -> np.ndarray:
    """Best precision at a recall of at least r, for the 101 recalls r.

    The curve starts at precision 1 for recall 0, falls to 0 at recall 1 and
    is linear between its points.

    Args:
        recall (np.ndarray): Recall (N, ), rising.
        precision (np.ndarray): Precision (N, ) at those recalls.

    Returns:
        np.ndarray: Precision (101, ).
    """
    recall = np.concatenate(([0.0], recall, [1.0]))
    precision = np.concatenate(([1.0], precision, [0.0]))
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return np.interp(AP_RECALLS, recall, envelope)


def compute_detection_curves(
    true_positives: np.ndarray,
    scores: np.ndarray,
    det_labels: np.ndarray,
    gt_labels: np.ndarray,
) -> DetectionCurves:
    """Turn the judged detections of a whole set into curves and APs.

    The best threshold is one for all classes: where the mean F1 over the
    classes, smoothed, is highest. A class with truth and no detection counts
    as zero; a class without truth has no curve and is in no mean.

    Args:
        true_positives (np.ndarray): Verdicts (N, T), bool; column 0 belongs
            to IoU 0.5.
        scores (np.ndarray): Confidences (N, ) between 0 and 1.
        det_labels (np.ndarray): Class indices (N, ).
        gt_labels (np.ndarray): Class indices (M, ) of all truth boxes.

    Returns:
        DetectionCurves: Curves of the classes in ``gt_labels``.
    """
    # Equal scores stay in the order of NumPy's default sort, as in the
    # official evaluation; a stable sort would give other figures on ties.
    order = np.argsort(-scores)
    true_positives = true_positives[order]
    scores, det_labels = scores[order], det_labels[order]
    labels, num_gts = np.unique(gt_labels, return_counts=True)

    confidence = np.linspace(0, 1, NUM_CONFIDENCES)
    precisions = np.zeros((len(labels), NUM_CONFIDENCES))
    recalls = np.zeros_like(precisions)
    pr_precision = np.zeros((len(labels), len(AP_RECALLS)))
    ap = np.zeros((len(labels), true_positives.shape[1]))
    # Without a single hit the official evaluation reports zeros only.
    rows = range(len(labels)) if true_positives.any() else ()
    for row in rows:
        chosen = det_labels == labels[row]
        if not chosen.any():
            continue
        hits = true_positives[chosen].cumsum(axis=0)
        drawn = np.arange(1, len(hits) + 1)[:, None]
        recall, precision = hits / (num_gts[row] + EPS), hits / drawn
        recalls[row] = np.interp(
            -confidence, -scores[chosen], recall[:, 0], left=0
        )
        precisions[row] = np.interp(
            -confidence, -scores[chosen], precision[:, 0], left=1
        )
        envelopes = [
            precision_envelope(*curve) for curve in zip(recall.T, precision.T)
        ]
        pr_precision[row] = envelopes[0]
        ap[row] = trapezoid(np.stack(envelopes), AP_RECALLS)

    f1 = 2 * precisions * recalls / (precisions + recalls + EPS)
    best = 0
    if len(labels):
        best = int(smooth(f1.mean(axis=0), SMOOTHING).argmax())
    return DetectionCurves(
        labels=labels.astype(int),
        confidence=confidence,
        precision=precisions,
        recall=recalls,
        f1=f1,
        best=best,
        pr_recall=AP_RECALLS,
        pr_precision=pr_precision,
        ap=ap,
    )


def evaluate_yolo(images: Sequence[dict]) -> DetectionCurves:
    """Evaluate a set of images the YOLOv9 way.

    The official evaluation knows no ignored boxes: they are not part of the
    truth, and a detection on one counts as any other.

    Args:
        images (Sequence[dict]): One dict an image with ``bboxes`` (N, 4),
            ``scores`` (N, ), ``labels`` (N, ), ``gt_bboxes`` (M, 4) and
            ``gt_labels`` (M, ).

    Returns:
        DetectionCurves: Curves and APs of the classes that have truth.
    """
    verdicts = [np.zeros((0, len(IOU_THRS)), dtype=bool)]
    verdicts += [
        match_detections(
            image['bboxes'],
            image['labels'],
            image['gt_bboxes'],
            image['gt_labels'],
        )
        for image in images
    ]

    def gather(key: str, dtype: type) -> np.ndarray:
        return np.concatenate(
            [np.zeros(0, dtype), *(image[key] for image in images)]
        )

    return compute_detection_curves(
        np.concatenate(verdicts),
        gather('scores', np.float32),
        gather('labels', int),
        gather('gt_labels', int),
    )
