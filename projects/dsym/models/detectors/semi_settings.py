"""Settings of :class:`DSYMDetector` that would fail late or change nothing."""

from mmengine.config import ConfigDict
from mmyolo.models.dense_heads import YOLOv8Head
from torch import nn

from ...errors import InputError
from ..dense_heads.doubtful_targets import NEEDS_ROWS
from ..task_modules import SparseTaskAlignedAssigner
from .pseudo_labels import PSEUDO_CFG

KEYS = (
    'sup_weight',
    'unsup_weight',
    'ramp_steps',
    'pseudo_test_cfg',
    'selector',
    'classes',
    'consistency',
    'mix',
    'sums_images',
    'doubtful',
    'box_weight',
    'empty_images',
    'freeze_teacher',
)
DOUBTFUL = ('share', 'max_iou')
# Of heads of mmdet and mmyolo, beside those of the detector's own test_cfg.
INFERENCE = ('nms_pre', 'min_bbox_size', 'yolox_style', 'agnostic')


def check_keys(cfg: ConfigDict, test: ConfigDict, head: nn.Module) -> None:
    """Raise :class:`InputError` for keys that nothing would read.

    Args:
        cfg (ConfigDict): ``semi_train_cfg``.
        test (ConfigDict): ``semi_test_cfg``.
        head (nn.Module): The student's, whose ``test_cfg`` tells what it
            knows.
    """
    unknown = [key for key in cfg if key not in KEYS]
    if unknown:
        raise InputError(
            f'semi_train_cfg: DSYMDetector knows no {", ".join(unknown)}: it '
            f'knows {", ".join(KEYS)}; a threshold is '
            "selector=dict(type='ScoreThreshold', score_thr=...)"
        )
    known = (*(head.test_cfg or {}), *PSEUDO_CFG, *INFERENCE)
    for name, keys in (('doubtful', DOUBTFUL), ('pseudo_test_cfg', known)):
        unknown = [key for key in cfg.get(name) or {} if key not in keys]
        if unknown:
            raise InputError(
                f'semi_train_cfg.{name} knows no {", ".join(unknown)}: it '
                f'knows {", ".join(dict.fromkeys(keys))}'
            )
    if test.predict_on not in ('teacher', 'student'):
        raise InputError(
            f"semi_test_cfg.predict_on={test.predict_on!r}: give 'teacher' or "
            "'student'"
        )


def check_classes(selector: nn.Module, head: nn.Module) -> None:
    """Raise :class:`InputError` if a selector is for other classes.

    Args:
        selector (nn.Module): Perhaps with ``num_classes``.
        head (nn.Module): The student's.
    """
    known = getattr(selector, 'num_classes', None)
    if known not in (None, head.num_classes):
        raise InputError(
            f'semi_train_cfg.selector: {type(selector).__name__} is for '
            f'{known} classes, but {type(head).__name__} for '
            f'{head.num_classes}: give both the number of the data set'
        )


def check_terms(cfg: ConfigDict, head: nn.Module) -> None:
    """Raise :class:`InputError` for terms of the loss that exclude each other.

    Args:
        cfg (ConfigDict): ``semi_train_cfg``.
        head (nn.Module): The student's.
    """
    if not cfg.get('consistency'):
        return
    if cfg.get('mix'):
        raise InputError(
            'semi_train_cfg.mix moves the places that consistency compares: '
            'set one of the two to None'
        )
    if not isinstance(head, YOLOv8Head):
        raise InputError(
            f'semi_train_cfg.consistency: {type(head).__name__} gives no '
            'logits and box distributions to compare: set it to None'
        )


def check_weights(head: nn.Module, knows_weights: bool) -> None:
    """Raise :class:`InputError` if weights of boxes would be lost.

    Args:
        head (nn.Module): The student's.
        knows_weights (bool): Whether a head of its kind looks at them.
    """
    if not knows_weights:
        raise InputError(
            f'{type(head).__name__} knows no weights of boxes: set '
            "semi_train_cfg.selector=dict(type='ScoreThreshold') or "
            'MixtureThreshold, and no filter that re-weights'
        )
    # one that only predicts has none
    assigner = getattr(head, 'assigner', None)
    if assigner and not isinstance(assigner, SparseTaskAlignedAssigner):
        raise InputError(NEEDS_ROWS)
