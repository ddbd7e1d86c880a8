"""Precision, recall, F1 and AP of defects, a class and overall."""

import logging
from typing import Any, Dict, List, Optional, Sequence

import numpy as np
import torch
from mmdet.structures.bbox import get_box_tensor
from mmengine.evaluator import BaseMetric
from mmengine.fileio import dump
from mmengine.logging import MMLogger, print_log
from mmengine.registry import METRICS

from ..errors import InputError
from .coco_ap import coco_dicts, evaluate_coco
from .detection_curves import evaluate_yolo
from .metric_report import (
    class_figures,
    count_instances,
    curves_dict,
    log_table,
    overall_figures,
)

# Pixels by which truth may pass the border before it looks unscaled.
BORDER_TOLERANCE = 2


def to_numpy(value: Any) -> np.ndarray:
    """Bring a tensor, box structure or array to the CPU as an array."""
    tensor = torch.as_tensor(get_box_tensor(value)).detach().cpu()
    # NumPy has no bfloat16
    return (tensor.float() if tensor.is_floating_point() else tensor).numpy()


@METRICS.register_module()
class DefectMetric(BaseMetric):
    """Detection metric for defect data sets, without any annotation file.

    Two conventions are reported side by side, because published figures
    follow one or the other:

    - COCO, computed by pycocotools: ``mAP_50``, ``mAP_75``, ``mAP`` and
      ``<class>_AP50``, ``<class>_AP75``, ``<class>_AP``;
    - YOLOv9's own evaluation: ``precision``, ``recall`` and ``f1`` at the one
      confidence ``best_thr`` where the (smoothed) mean F1 over the classes is
      highest, ``yolo_AP50``, ``yolo_mAP`` and ``<class>_precision``,
      ``<class>_recall``, ``<class>_f1``, ``<class>_yolo_AP50``.

    Overall figures are means over the classes that have truth; a class
    without is left out and gets no ``<class>_`` figures. These are the DSYM
    paper's equations 21 to 24.

    The truth comes with each sample: the test pipeline needs
    ``LoadAnnotations`` after the resize, so that boxes stay in original
    pixels.

    Args:
        outfile_prefix (str, optional): Path that the names of all written
            files start with: ``<prefix>.curves.json`` holds the curves and
            counts. Defaults to None, which writes nothing.
        save_predictions (bool): Whether to write ``<prefix>.gt.json`` (a COCO
            data set) and ``<prefix>.bbox.json`` (COCO results) as well.
            Defaults to False.
        max_dets (int): Detections of a class that COCO counts in an image.
            Defaults to 100.
        collect_device (str): Where results of all ranks are collected,
            'cpu' or 'gpu'. Defaults to 'cpu'.
        prefix (str, optional): Prefix of the figures' names. Defaults to
            None, which means 'defect'.

    Raises:
        InputError: If predictions are to be saved and there is no
            ``outfile_prefix``.
    """

    default_prefix = 'defect'

    def __init__(
        self,
        outfile_prefix: Optional[str] = None,
        save_predictions: bool = False,
        max_dets: int = 100,
        collect_device: str = 'cpu',
        prefix: Optional[str] = None,
    ) -> None:
        super().__init__(collect_device=collect_device, prefix=prefix)
        if save_predictions and outfile_prefix is None:
            raise InputError(
                'DefectMetric(save_predictions=True) needs outfile_prefix, '
                'the path that the names of its files start with'
            )
        self.outfile_prefix = outfile_prefix
        self.save_predictions = save_predictions
        self.max_dets = max_dets

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep boxes, scores and labels of a batch as small arrays.

        Args:
            data_batch (Any): Not used.
            data_samples (Sequence[dict]): Samples with ``pred_instances``
                (``bboxes`` (N, 4) xyxy in original pixels, ``scores`` (N, )
                in falling order, ``labels`` (N, )), ``gt_instances``
                (``bboxes`` (M, 4), ``labels`` (M, )), ``ori_shape`` (h, w)
                and, where there are any, ``ignored_instances``, ``img_id``
                and ``img_path``.

        Raises:
            InputError: If a sample has no truth, or a label that is no class.
        """
        for sample in data_samples:
            name = sample.get('img_path') or f'image {sample.get("img_id")}'
            if 'gt_instances' not in sample:
                raise InputError(
                    f'{name}: no gt_instances to evaluate against; put '
                    'LoadAnnotations(with_bbox=True) after the resize in the '
                    'test pipeline'
                )
            pred, gt = sample['pred_instances'], sample['gt_instances']
            ignored = sample.get('ignored_instances', {})
            height, width = sample['ori_shape'][:2]
            result = dict(
                img_id=sample.get('img_id'),
                img_path=sample.get('img_path'),
                height=int(height),
                width=int(width),
                bboxes=to_numpy(pred['bboxes']),
                scores=to_numpy(pred['scores']),
                labels=to_numpy(pred['labels']),
                gt_bboxes=to_numpy(gt['bboxes']),
                gt_labels=to_numpy(gt['labels']),
                ignored_bboxes=to_numpy(
                    ignored.get('bboxes', np.zeros((0, 4)))
                ),
                ignored_labels=to_numpy(
                    ignored.get('labels', np.zeros(0, int))
                ),
            )
            self._check(result, name)
            self.results.append(result)

    def _check(self, result: dict, name: str) -> None:
        num_classes = len(self.dataset_meta['classes'])
        for key in ('labels', 'gt_labels', 'ignored_labels'):
            outside = result[key][
                (result[key] < 0) | (result[key] >= num_classes)
            ]
            if len(outside):
                raise InputError(
                    f'{name}: label {outside[0]} in {key}, but the data set '
                    f'has {num_classes} classes; set num_classes and '
                    'metainfo alike'
                )
        finite = np.isfinite(result['bboxes']).all(axis=1)
        finite &= np.isfinite(result['scores'])
        if not finite.all():
            # a box without area is a false positive under both conventions
            result['bboxes'][~finite] = 0
            result['scores'][~finite] = 0
            print_log(
                f'{name}: {(~finite).sum()} detections have a box or score '
                'that is NaN or infinite and count as false; has the '
                'training diverged?',
                logger='current',
                level=logging.WARNING,
            )

    def compute_metrics(self, results: List[dict]) -> Dict[str, float]:
        """Evaluate the whole set, log a table, write the files asked for.

        Args:
            results (list[dict]): What :meth:`process` kept, of all ranks.

        Returns:
            dict[str, float]: The figures, without the prefix.
        """
        logger: MMLogger = MMLogger.get_current_instance()
        classes = list(self.dataset_meta['classes'])
        warn_unscaled(results, logger)
        yolo = evaluate_yolo(results)
        truth, detections = coco_dicts(results, classes)
        coco = evaluate_coco(truth, detections, self.max_dets)

        figures = overall_figures(yolo, coco)
        rows = class_figures(yolo, coco, classes)
        for name, row in rows.items():
            figures.update({f'{name}_{key}': row[key] for key in row})
        counts = count_instances(results, classes)
        log_table(figures, rows, counts, logger)

        if self.outfile_prefix is not None:
            files = {
                'curves': curves_dict(yolo, coco, classes, counts, figures)
            }
            if self.save_predictions:
                files.update(gt=truth, bbox=detections)
            for kind, content in files.items():
                path = f'{self.outfile_prefix}.{kind}.json'
                dump(content, path)
                logger.info(f'Saved {path}')
        return figures


def warn_unscaled(results: Sequence[dict], logger: MMLogger) -> None:
    """Warn when truth lies outside its image, the mark of resized truth."""
    outside = [
        result
        for result in results
        if len(result['gt_bboxes'])
        and (
            result['gt_bboxes'].max(axis=0)[2:]
            > np.array([result['width'], result['height']]) + BORDER_TOLERANCE
        ).any()
    ]
    if outside:
        logger.warning(
            f'{len(outside)} images have truth boxes outside the image, e.g. '
            f'{outside[0]["img_path"]}: unless the annotations are wrong, '
            'LoadAnnotations must come after the resize in the test pipeline'
        )
