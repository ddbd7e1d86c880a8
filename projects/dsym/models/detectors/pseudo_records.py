from typing import Dict, List, NamedTuple, Sequence

import torch
from mmengine.structures import InstanceData


class PseudoRecord(NamedTuple):
    """What became of the teacher's boxes of one image.

    Attributes:
        img_path (str): The image.
        stages (dict[str, InstanceData]): ``predicted``, ``selected`` and,
            with a filter, ``filtered``; with one that comes before the
            selection ``rescored`` after the first. The last of them are the
            labels: with weights they are also there as ``certain`` and
            ``uncertain``, see :func:`split_by_weight`. ``doubtful`` are the
            boxes that the head ignores, if it can. Each has ``bboxes`` in
            pixels of the original image, ``scores`` and ``labels``.
    """

    img_path: str
    stages: Dict[str, InstanceData]


def split_by_weight(
    labels: Sequence[InstanceData],
) -> Dict[str, List[InstanceData]]:
    """Tell hard targets from soft ones.

    Args:
        labels (Sequence[InstanceData]): Pseudo-labels of each image; those
            without ``weights`` are hard.

    Returns:
        dict[str, list[InstanceData]]: ``certain``, of weight 1, and
        ``uncertain``, the others, of each image; nothing if no image has
        weights.
    """
    if not any('weights' in boxes for boxes in labels):
        return {}
    full = [
        boxes.get('weights', torch.ones_like(boxes.scores)) >= 1
        for boxes in labels
    ]
    return dict(
        certain=[boxes[x] for boxes, x in zip(labels, full)],
        uncertain=[boxes[~x] for boxes, x in zip(labels, full)],
    )
