import logging
from typing import Any, Dict, List, Sequence, Tuple

from mmdet.models.dense_heads import YOLOV3Head
from mmdet.models.utils import reweight_loss_dict
from mmdet.utils import ConfigType
from mmengine.config import ConfigDict
from mmengine.logging import print_log
from mmyolo.models.dense_heads import (
    YOLOv5Head,
    YOLOv7Head,
    YOLOv8Head,
)
from torch import Tensor, nn

from ...errors import InputError
from ..dense_heads import MambaHead, YOLOv9Head

# Heads whose losses are multiplied with the number of images, as YOLOv5's.
# mmyolo's others inherit from them, but not that.
SUMS_IMAGES = {YOLOv5Head, YOLOv7Head, YOLOv8Head, YOLOv9Head, MambaHead}

# Parts of names of losses about places of boxes, in mmdet and mmyolo; the
# last of RepPoints and Guided Anchoring.
BOX_TERMS = (
    *('bbox', 'dfl', 'iou', 'l1', 'xy', 'wh', 'centerness'),
    *('loss_pts', 'loss_shape', 'loss_loc'),
)

# Those that do no more than mmdet's own, for lists of images or stacked ones.
PREPROCESSORS = ('DetDataPreprocessor', 'YOLOv5DetDataPreprocessor')


def pick(outs: Any, images: List[int]) -> Any:
    """Outputs of some images from nested lists of tensors ``(B, ...)``."""
    if isinstance(outs, Tensor):
        return outs[images]
    return type(outs)(pick(x, images) for x in outs)


def sums_images(head: nn.Module) -> bool:
    """Whether a head's losses grow with the number of images.

    Args:
        head (nn.Module): Of mmdet, mmyolo or dsym.

    Returns:
        bool: As the class says whose ``loss_by_feat`` it has; mmdet's
        ``YOLOV3Head`` as its loss is reduced.
    """
    if isinstance(head, YOLOV3Head):
        return head.loss_cls.reduction == 'sum'
    owner = next(c for c in type(head).__mro__ if 'loss_by_feat' in vars(c))
    known = owner.__module__.split('.')[0] in ('mmyolo', 'mmdet', 'dsym')
    if isinstance(head, YOLOv5Head) and not known:
        print_log(
            f'{owner.__name__}: whether its losses grow with the number of '
            'images is not known, and taken as not: set semi_train_cfg.'
            'sums_images, True if its loss_by_feat ends as that of YOLOv5Head',
            logger='current',
            level=logging.WARNING,
        )
    return owner in SUMS_IMAGES


def weigh_box_terms(
    losses: Dict[str, Tensor], weight: float, head: nn.Module
) -> Dict[str, Tensor]:
    """Scale the terms of a head's loss that are about places of boxes.

    Args:
        losses (dict[str, Tensor]): Of a head of mmdet, mmyolo or dsym.
        weight (float): Factor; 1 changes nothing, 0 leaves them out.
        head (nn.Module): The head; ``MambaHead``'s ``loss_conf`` is about how
            well boxes fit, that of mmdet's ``YOLOV3Head`` is not.

    Returns:
        dict[str, Tensor]: The losses.
    """
    if weight == 1:
        return losses
    terms = (*BOX_TERMS, 'conf') if isinstance(head, MambaHead) else BOX_TERMS
    boxes = {key for key in losses if any(term in key for term in terms)}
    others = {key: x for key, x in losses.items() if key not in boxes}
    if not weight:
        return others
    of_boxes = {key: losses[key] for key in boxes}
    return {**others, **reweight_loss_dict(of_boxes, weight)}


def level_outputs(
    head: YOLOv8Head, outs: tuple, inputs: Tensor
) -> Tuple[Sequence[Tensor], Sequence[Tensor]]:
    """Class logits and box distributions of the main levels.

    Args:
        head (YOLOv8Head): The student's head.
        outs (tuple): What it gave in training.
        inputs (Tensor): The images.

    Returns:
        tuple[Sequence[Tensor]]: ``(B, num_classes, H, W)`` and
        ``(B, H * W, 4, reg_max)`` a level.
    """
    levels = head.num_levels
    bins = [
        x.reshape(len(inputs), -1, 4, head.head_module.reg_max)
        for x in outs[2][:levels]
    ]
    return outs[0][:levels], bins


def branch_preprocessor(detector: ConfigType) -> ConfigDict:
    """Make a detector's preprocessor one of several branches.

    Args:
        detector (dict): Config of the detector.

    Returns:
        ConfigDict: mmdet's ``MultiBranchDataPreprocessor`` with mmdet's own
        for lists of images, which mmyolo's, of stacked ones, is a kind of.
    """
    own = detector.get('data_preprocessor') or {}
    if own.get('batch_augments'):
        raise InputError(
            'DSYMDetector: batch_augments of the detector would resize views '
            'unseen by their homographies: set it to None'
        )
    name = str(own.get('type', PREPROCESSORS[0])).rsplit('.', 1)[-1]
    if name not in PREPROCESSORS:
        raise InputError(
            f'DSYMDetector: {name} of the detector is none of '
            f'{", ".join(PREPROCESSORS)}, and what else it does would be '
            'lost: set DSYMDetector.data_preprocessor, such as '
            "mmdet's MultiBranchDataPreprocessor of it"
        )
    keys = 'mean', 'std', 'bgr_to_rgb', 'rgb_to_bgr', 'pad_size_divisor'
    keys = (*keys, 'pad_value')
    return ConfigDict(
        type='mmdet.MultiBranchDataPreprocessor',
        data_preprocessor=dict(
            {key: own[key] for key in keys if key in own},
            type='mmdet.DetDataPreprocessor',
        ),
    )
