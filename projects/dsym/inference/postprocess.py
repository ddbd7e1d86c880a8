"""From decoded boxes and scores to detections, outside of a network."""

from typing import Any, Dict

import torch
from mmcv.ops import batched_nms
from mmengine.structures import InstanceData
from torch import Tensor

from ..models.dense_heads.score_choice import choose_scores


def select_boxes(
    boxes: Tensor, scores: Tensor, cfg: Dict[str, Any], meta: Dict[str, Any]
) -> InstanceData:
    """Choose an image's detections as mmyolo's heads do.

    Args:
        boxes (Tensor): ``(P, 4)``, xyxy in pixels of the network's input.
        scores (Tensor): ``(P, C)``.
        cfg (dict): ``test_cfg``: ``score_thr``, ``nms_pre``, ``multi_label``,
            ``nms`` and ``max_per_img``.
        meta (dict): ``ori_shape``, ``scale_factor`` and perhaps
            ``pad_param``.

    Returns:
        InstanceData: ``bboxes`` in pixels of the original image, ``scores``
        and ``labels``; the best first.
    """
    best, labels, kept = choose_scores(scores, cfg)
    boxes = boxes[kept]
    if 'pad_param' in meta:
        top, _, left, _ = meta['pad_param']
        boxes = boxes - boxes.new_tensor([left, top] * 2)
    boxes = boxes / boxes.new_tensor([*meta['scale_factor']] * 2)
    results = InstanceData(bboxes=boxes, scores=best, labels=labels)
    least = cfg.get('min_bbox_size', -1)
    if least >= 0:
        sides = boxes[:, 2:] - boxes[:, :2]
        results = results[(sides > least).all(1)]
    if len(results):
        _, kept = batched_nms(
            results.bboxes, results.scores, results.labels, dict(cfg['nms'])
        )
        results = results[kept][: cfg['max_per_img']]
    height, width = meta['ori_shape'][:2]
    limits = torch.tensor([width, height] * 2)
    results.bboxes = torch.minimum(
        results.bboxes.clamp(min=0), limits.to(results.bboxes)
    )
    return results
