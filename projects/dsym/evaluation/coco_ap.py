"""Average precision as COCO defines it, computed by pycocotools."""

import contextlib
import io
from dataclasses import dataclass
from typing import Any, Dict, List, Sequence, Tuple

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from tqdm import tqdm

# Seconds without a progress bar: small sets are evaluated faster than that.
QUIET_SECONDS = 3


@dataclass
class CocoAP:
    """What COCOeval says of every class.

    Attributes:
        recall (np.ndarray): Recalls (101, ) from 0 to 1.
        precision (np.ndarray): Precision (K, 10, 101) a class, IoU threshold
            (0.50 to 0.95) and recall; -1 for a class without truth.
    """

    recall: np.ndarray
    precision: np.ndarray

    @property
    def has_gt(self) -> np.ndarray:
        """np.ndarray: Whether a class has truth, bool (K, )."""
        return self.precision[:, 0, 0] > -1

    @property
    def ap(self) -> np.ndarray:
        """np.ndarray: AP (K, 10) a class and IoU threshold, or -1."""
        return self.precision.mean(axis=2)


def xyxy2xywh(bboxes: np.ndarray) -> np.ndarray:
    """Turn xyxy into COCO's xywh; boxes are continuous, nothing is added.

    Args:
        bboxes (np.ndarray): Boxes (N, 4), xyxy in pixels.

    Returns:
        np.ndarray: Boxes (N, 4) of float64, xywh in pixels.
    """
    bboxes = bboxes.astype(np.float64)
    return np.hstack([bboxes[:, :2], bboxes[:, 2:] - bboxes[:, :2]])


def coco_dicts(
    images: Sequence[dict], classes: Sequence[str]
) -> Tuple[Dict[str, Any], List[Dict[str, Any]]]:
    """Describe truth and detections in COCO's json forms.

    Images are numbered from 1 in their order, classes from 0. Ignored boxes
    become annotations with ``iscrowd=1``.

    Args:
        images (Sequence[dict]): As :meth:`DefectMetric.process` keeps them.
        classes (Sequence[str]): Class names.

    Returns:
        tuple[dict, list[dict]]: A COCO data set with the truth, and COCO
        results with the detections.
    """
    annotations: List[Dict[str, Any]] = []
    detections: List[Dict[str, Any]] = []

    def annotate(image_id: int, bboxes, labels, iscrowd: int) -> None:
        for bbox, label in zip(xyxy2xywh(bboxes).tolist(), labels.tolist()):
            annotations.append(
                dict(
                    # pycocotools takes an id of 0 for "not matched"
                    id=len(annotations) + 1,
                    image_id=image_id,
                    category_id=label,
                    bbox=bbox,
                    area=bbox[2] * bbox[3],
                    iscrowd=iscrowd,
                )
            )

    for image_id, image in enumerate(images, start=1):
        annotate(image_id, image['gt_bboxes'], image['gt_labels'], 0)
        annotate(image_id, image['ignored_bboxes'], image['ignored_labels'], 1)
        detections += [
            dict(
                image_id=image_id,
                category_id=label,
                bbox=bbox,
                score=score,
            )
            for bbox, score, label in zip(
                xyxy2xywh(image['bboxes']).tolist(),
                image['scores'].tolist(),
                image['labels'].tolist(),
            )
        ]
    truth = dict(
        images=[
            dict(
                id=image_id,
                file_name=image['img_path'],
                img_id=image['img_id'],
                height=image['height'],
                width=image['width'],
            )
            for image_id, image in enumerate(images, start=1)
        ],
        categories=[dict(id=i, name=name) for i, name in enumerate(classes)],
        annotations=annotations,
    )
    return truth, detections


def evaluate_coco(
    truth: Dict[str, Any],
    detections: List[Dict[str, Any]],
    max_dets: int = 100,
) -> CocoAP:
    """Run pycocotools over all areas, with one limit of detections.

    Args:
        truth (dict): A COCO data set, as :func:`coco_dicts` makes it.
        detections (list[dict]): COCO results.
        max_dets (int): Detections that count in an image and class, the
            highest scores first. Defaults to 100.

    Returns:
        CocoAP: Precision of every class.
    """
    with contextlib.redirect_stdout(io.StringIO()):
        coco_gt, coco_dt = COCO(), COCO()
        coco_gt.dataset = truth
        coco_gt.createIndex()
        coco_dt.dataset = dict(
            images=truth['images'],
            categories=truth['categories'],
            annotations=[
                dict(
                    detection,
                    id=number,
                    area=detection['bbox'][2] * detection['bbox'][3],
                    iscrowd=0,
                )
                for number, detection in enumerate(detections, start=1)
            ],
        )
        coco_dt.createIndex()

    per_class = []
    progress = tqdm(
        coco_gt.getCatIds(),
        desc='COCO AP, classes',
        delay=QUIET_SECONDS,
        leave=False,
    )
    for category in progress:
        coco_eval = COCOeval(coco_gt, coco_dt, 'bbox')
        coco_eval.params.catIds = [category]
        coco_eval.params.areaRng = [[0, 1e10]]
        coco_eval.params.areaRngLbl = ['all']
        coco_eval.params.maxDets = [max_dets]
        with contextlib.redirect_stdout(io.StringIO()):
            coco_eval.evaluate()
            coco_eval.accumulate()
        per_class.append(coco_eval.eval['precision'][:, :, 0, 0, 0])
    return CocoAP(
        recall=coco_eval.params.recThrs, precision=np.stack(per_class)
    )
