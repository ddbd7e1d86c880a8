from typing import Dict, Optional, Sequence, Union

import torch
from mmdet.structures.bbox import get_box_tensor
from mmengine.structures import InstanceData
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from ...errors import InputError

NEEDS_ROWS = (
    'weights of boxes need to know which place has which box: set '
    "train_cfg.assigner.type='SparseTaskAlignedAssigner'"
)


def box_weights(
    batch_gt_instances: Union[Tensor, Sequence[InstanceData]],
) -> Optional[Tensor]:
    """Collect the weights of boxes.

    Args:
        batch_gt_instances (Tensor or list): As in
            :meth:`YOLOv9Head.loss_by_feat`.

    Returns:
        Tensor, optional: ``(B, G)``; None if no box has any.
    """
    if isinstance(batch_gt_instances, Tensor) or not any(
        'weights' in boxes for boxes in batch_gt_instances
    ):
        return None
    weights = [
        boxes.get('weights', boxes.bboxes.new_ones(len(boxes)))
        for boxes in batch_gt_instances
    ]
    return pad_sequence(weights, batch_first=True)


def ignored_boxes(
    instances: Optional[Sequence[Optional[InstanceData]]],
) -> Optional[Tensor]:
    """Collect boxes to ignore.

    Args:
        instances (Sequence[InstanceData or None], optional): Of each image.

    Returns:
        Tensor, optional: ``(B, M, 4)``, zeros below; None if there is none.
    """
    boxes = [
        torch.zeros(0, 4) if x is None else get_box_tensor(x.bboxes)
        for x in instances or ()
    ]
    if not any(map(len, boxes)):
        return None
    device = next(x.device for x in boxes if len(x))
    return pad_sequence([x.to(device) for x in boxes], batch_first=True)


def place_weights(assigned: Dict[str, Tensor], weights: Tensor) -> Tensor:
    """Give each place the weight of its box, and 1 to the background.

    Args:
        assigned (dict[str, Tensor]): Of :class:`SparseTaskAlignedAssigner`.
        weights (Tensor): Of the boxes ``(B, G)``.

    Returns:
        Tensor: ``(B, places, 1)``.

    Raises:
        InputError: If the assigner does not tell the boxes.
    """
    if 'assigned_rows' not in assigned:
        raise InputError(NEEDS_ROWS)
    weights = weights.gather(1, assigned['assigned_rows'])
    matched = assigned['fg_mask_pre_prior'].bool()
    return torch.where(matched, weights, 1.0)[..., None]
