"""Classes that pseudo-labels leave alone: the teacher gets them wrong."""

from typing import List, Optional, Sequence

import torch
from mmengine.structures import InstanceData
from mmyolo.models.dense_heads import YOLOv8Head
from torch import nn

from ...errors import InputError


def untaught_classes(
    classes: Optional[Sequence[int]], head: nn.Module
) -> List[int]:
    """The classes of which pseudo-labels teach nothing.

    Args:
        classes (Sequence[int], optional): The taught ones; None is all.
        head (nn.Module): The student's.

    Returns:
        list[int]: The others, in order.

    Raises:
        InputError: If the head has no such class, or is not of YOLOv8's kind,
            whose class scores do not depend on each other.
    """
    if classes is None:
        return []
    if not isinstance(head, YOLOv8Head):
        raise InputError(
            f'semi_train_cfg.classes: {type(head).__name__} is no YOLOv8 or '
            'v9 head, which learns each class by itself: set it to None'
        )
    known = range(head.num_classes)
    if not classes or not set(classes) <= set(known):
        raise InputError(
            f'semi_train_cfg.classes: {list(classes)} are not classes of a '
            f'head with {head.num_classes}: give numbers from 0 to '
            f'{head.num_classes - 1}'
        )
    return [label for label in known if label not in classes]


def leave_out(
    boxes: Sequence[InstanceData], labels: List[int]
) -> List[InstanceData]:
    """Boxes of each image that are of none of these classes."""
    if not labels:
        return list(boxes)
    return [
        x[~torch.isin(x.labels, x.labels.new_tensor(labels))] for x in boxes
    ]


def silence(outs: tuple, labels: List[int]) -> tuple:
    """Take the loss of some classes out of what a YOLO head gave.

    Args:
        outs (tuple): Class logits ``(B, num_classes, H, W)`` of each level
            come first.
        labels (list[int]): Classes that no target has.

    Returns:
        tuple: The same with constant logits of these classes, for which they
        are background as far as floats can tell: a score of 2e-9.
    """
    if not labels:
        return outs
    hidden = torch.zeros_like(outs[0][0][:1, :, :1, :1], dtype=torch.bool)
    hidden[:, labels] = True
    return ([x.masked_fill(hidden, -20.0) for x in outs[0]], *outs[1:])
