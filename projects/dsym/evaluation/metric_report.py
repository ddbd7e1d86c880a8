"""Figures, table and json of an evaluation, out of its two conventions."""

from typing import Any, Dict, Optional, Sequence

import numpy as np
from mmengine.logging import MMLogger
from terminaltables import AsciiTable

from .coco_ap import CocoAP
from .detection_curves import DetectionCurves

# Places of IoU 0.50 and 0.75 among the ten thresholds.
IOU_50, IOU_75 = 0, 5
YOLO_CONVENTION = (
    'YOLOv9 evaluation at IoU 0.5: a detection asks for the truth box of its '
    'class with the largest IoU, the first of an image to ask gets it; '
    'ignored boxes are no truth; precision, recall and f1 over confidence '
    'are interpolated linearly; AP is the trapezoid over 101 recalls'
)
COCO_CONVENTION = (
    'pycocotools, area=all: detections are matched greedily by score to the '
    'free truth box with the largest IoU; ignored boxes are iscrowd; '
    'precision is the envelope sampled at 101 recalls, AP its mean; null '
    'stands for a class without truth'
)


def overall_figures(yolo: DetectionCurves, coco: CocoAP) -> Dict[str, float]:
    """Mean figures over the classes with truth.

    Without any truth the COCO figures are -1 and the others 0, as their
    sources say.
    """
    figures = dict(
        mAP=-1.0,
        mAP_50=-1.0,
        mAP_75=-1.0,
        precision=0.0,
        recall=0.0,
        f1=0.0,
        best_thr=yolo.best_thr,
        yolo_AP50=0.0,
        yolo_mAP=0.0,
    )
    if len(yolo.labels):
        ap = coco.ap[coco.has_gt].mean(axis=0)
        figures.update(
            mAP=float(ap.mean()),
            mAP_50=float(ap[IOU_50]),
            mAP_75=float(ap[IOU_75]),
            precision=float(yolo.precision[:, yolo.best].mean()),
            recall=float(yolo.recall[:, yolo.best].mean()),
            f1=float(yolo.f1[:, yolo.best].mean()),
            yolo_AP50=float(yolo.ap[:, IOU_50].mean()),
            yolo_mAP=float(yolo.ap.mean()),
        )
    return figures


def class_figures(
    yolo: DetectionCurves, coco: CocoAP, classes: Sequence[str]
) -> Dict[str, Dict[str, float]]:
    """Figures of every class with truth, by the class's name."""
    return {
        classes[label]: dict(
            precision=float(yolo.precision[row, yolo.best]),
            recall=float(yolo.recall[row, yolo.best]),
            f1=float(yolo.f1[row, yolo.best]),
            AP50=float(coco.ap[label, IOU_50]),
            AP75=float(coco.ap[label, IOU_75]),
            AP=float(coco.ap[label].mean()),
            yolo_AP50=float(yolo.ap[row, IOU_50]),
        )
        for row, label in enumerate(yolo.labels)
    }


def count_instances(
    results: Sequence[dict], classes: Sequence[str]
) -> Dict[str, Dict[str, int]]:
    """Count truth, ignored boxes and detections of every class."""
    counts = {
        column: sum(
            (
                np.bincount(result[key], minlength=len(classes))
                for result in results
            ),
            start=np.zeros(len(classes), int),
        )
        for column, key in (
            ('truth', 'gt_labels'),
            ('ignored', 'ignored_labels'),
            ('detections', 'labels'),
        )
    }
    return {
        name: {column: int(counts[column][label]) for column in counts}
        for label, name in enumerate(classes)
    }


def log_table(
    figures: Dict[str, float],
    rows: Dict[str, Dict[str, float]],
    counts: Dict[str, Dict[str, int]],
    logger: MMLogger,
) -> None:
    """Log one line a class and one for all, in percent."""
    columns = ('precision', 'recall', 'f1', 'AP50', 'AP75', 'AP', 'yolo_AP50')
    table = [['class', 'truth', 'detections', *columns]]
    for name, count in counts.items():
        cells = ['no truth'] + ['-'] * (len(columns) - 1)
        if name in rows:
            cells = [f'{100 * rows[name][column]:.1f}' for column in columns]
        table.append([name, count['truth'], count['detections'], *cells])
    overall = dict(
        figures,
        AP50=figures['mAP_50'],
        AP75=figures['mAP_75'],
        AP=figures['mAP'],
    )
    table.append(
        [
            'all',
            sum(count['truth'] for count in counts.values()),
            sum(count['detections'] for count in counts.values()),
            *(
                f'{100 * overall[column]:.1f}' if rows else '-'
                for column in columns
            ),
        ]
    )
    drawn = AsciiTable(table)
    drawn.inner_footing_row_border = True
    logger.info(
        f'precision, recall and F1 at confidence {figures["best_thr"]:.3f}, '
        f'in percent\n{drawn.table}'
    )
    missing = [name for name in counts if name not in rows]
    if missing:
        logger.warning(
            f'No truth for {", ".join(missing)}: left out of the means'
        )


def curves_dict(
    yolo: DetectionCurves,
    coco: CocoAP,
    classes: Sequence[str],
    counts: Dict[str, Dict[str, int]],
    figures: Dict[str, float],
) -> Dict[str, Any]:
    """Arrange curves, counts and figures for the json file.

    Every array is a list over ``confidence``, ``pr_recall`` or ``recall`` of
    its own block; ``convention`` says how the block was computed.
    """

    def by_class(array: np.ndarray) -> Dict[str, list]:
        return {
            classes[label]: array[row].round(6).tolist()
            for row, label in enumerate(yolo.labels)
        }

    def coco_curves(iou: int) -> Dict[str, Optional[list]]:
        return {
            name: coco.precision[label, iou].round(6).tolist()
            if coco.has_gt[label]
            else None
            for label, name in enumerate(classes)
        }

    return dict(
        classes=list(classes),
        counts=counts,
        figures=figures,
        yolo=dict(
            convention=YOLO_CONVENTION,
            best_thr=yolo.best_thr,
            confidence=yolo.confidence.round(6).tolist(),
            precision=by_class(yolo.precision),
            recall=by_class(yolo.recall),
            f1=by_class(yolo.f1),
            pr_recall=yolo.pr_recall.round(6).tolist(),
            pr_precision=by_class(yolo.pr_precision),
        ),
        coco=dict(
            convention=COCO_CONVENTION,
            recall=coco.recall.round(6).tolist(),
            precision_50=coco_curves(IOU_50),
            precision_75=coco_curves(IOU_75),
        ),
    )
