"""Which detectors can be student and teacher, asked before the first step."""

from inspect import signature

from mmdet.models.detectors import DetectionTransformer
from mmdet.registry import MODELS
from mmdet.utils import ConfigType
from mmyolo.models.dense_heads import YOLOXHead
from torch import nn

from ...errors import InputError


def check_type(detector: ConfigType) -> None:
    """Raise for a detector that cannot even be built twice.

    Args:
        detector (dict): Its config.

    Raises:
        InputError: If it is one of transformers.
    """
    kind = detector.get('type')
    if isinstance(kind, str):
        scope = detector.get('_scope_')
        with MODELS.switch_scope_and_registry(scope) as registry:
            kind = registry.get(kind)
    if isinstance(kind, type) and issubclass(kind, DetectionTransformer):
        raise InputError(
            f'DSYMDetector: {kind.__name__} has queries, which are no places '
            'that pseudo-labels come from: give a one-stage detector with a '
            'dense bbox_head'
        )


def check_head(detector: nn.Module) -> None:
    """Raise for a head that would fail at the first unlabelled images.

    Args:
        detector (nn.Module): The student.

    Raises:
        InputError: If it has no dense head, or one that takes neither
            inference settings nor a list of labels.
    """
    head = getattr(detector, 'bbox_head', None)
    if head is None:
        raise InputError(
            f'DSYMDetector: {type(detector).__name__} has no single '
            'bbox_head: give a one-stage detector'
        )
    predict = getattr(head, 'predict_by_feat', None)
    if predict is None or 'cfg' not in signature(predict).parameters:
        raise InputError(
            f'DSYMDetector: {type(head).__name__}.predict_by_feat takes no '
            'cfg, so the teacher could not predict pseudo-labels by settings '
            'of its own: give a detector with another head'
        )
    if isinstance(head, YOLOXHead):
        raise InputError(
            "DSYMDetector: mmyolo's YOLOXHead learns from no list of labels: "
            "give mmdet's YOLOX"
        )
