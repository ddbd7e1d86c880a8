import torch
from mmdet.structures.bbox import bbox_overlaps
from mmengine.structures import InstanceData
from torch import nn


def doubtful_boxes(
    predicted: InstanceData,
    kept: InstanceData,
    selector: nn.Module,
    share: float = 0.5,
    max_iou: float = 0.3,
) -> InstanceData:
    """What is neither a pseudo-label nor background, of the others.

    A box that nearly was a label may be a defect: it is doubtful if its score
    is at least ``share`` of what its class asks for, or if a filter took it
    out after the selection. One with less is what a detector has to learn is
    nothing, and one that lies on a label is a bad copy of it: both are
    background, unless the selector does not tell what it asks for.

    Args:
        predicted (InstanceData): The teacher's boxes of an image, with
            ``rows``.
        kept (InstanceData): Those of them that became labels.
        selector (nn.Module): With a method ``floor`` that gives the lowest
            score that is kept of each label's class.
        share (float): Of that score. Defaults to 0.5.
        max_iou (float): With a label, from which on a box is its copy.
            Defaults to 0.3.

    Returns:
        InstanceData: The doubtful ones.
    """
    others = predicted[~torch.isin(predicted.rows, kept.rows)]
    if not hasattr(selector, 'floor') or not len(others):
        return others
    values = others[getattr(selector, 'by', 'scores')]
    doubtful = values >= share * selector.floor(others.labels)
    if len(kept):
        overlaps = bbox_overlaps(others.bboxes, kept.bboxes)
        doubtful &= overlaps.max(1).values < max_iou
    return others[doubtful]
