import logging
from pathlib import Path
from typing import Dict, List, Sequence

import torch
from mmcv.ops import batched_nms
from mmdet.models.utils import weighted_boxes_fusion
from mmdet.structures import DetDataSample
from mmengine.config import ConfigDict
from mmengine.dist import all_gather_object, get_dist_info
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.registry import HOOKS, DefaultScope, init_default_scope
from mmengine.runner import Runner
from mmengine.structures import InstanceData
from torch.utils.data import DataLoader

from ..datasets.image_checks import decode_image
from ..datasets.real_images import real_datasets
from ..errors import InputError
from ..evaluation.pseudo_label_audit import normalize_path
from ..inference.model import ModelFiles, resolve_model
from ..inference.predictor import Predictor, build_predictor
from ..models.detectors.pseudo_labels import PSEUDO_CFG
from ..weights import PREFIX
from .mean_teacher_loop import MeanTeacherLoop
from .unwrapped import unwrapped_model

BATCH = 16  # images
NOTHING = InstanceData(
    bboxes=torch.zeros(0, 4),
    scores=torch.zeros(0),
    labels=torch.zeros(0, dtype=torch.long),
)


@HOOKS.register_module()
class EnsembleTeacherHook(Hook):
    """Let several trained detectors label the unlabelled images.

    A mean teacher is an average of its own student and repeats its mistakes.
    Detectors that were trained from different seeds make different ones: their
    boxes, fused by weighted boxes fusion (WBF, arXiv:1910.13302), are better
    than those of each, and the student learns what all of them know. They
    label all images before the first step; selector, filter and loss see
    their boxes as they would see the mean teacher's, which goes on as the
    average that is evaluated.

    WBF averages the scores and multiplies them by the share of detectors that
    have the box: one of five makes a fifth of its score. Before and after it
    ``semi_train_cfg.pseudo_test_cfg`` applies, as to a teacher.

    Args:
        detectors (Sequence[str]): Checkpoints of plain detectors, each with
            the config that training wrote beside it, or ``dsym://NAME``.
        iou_threshold (float): Above it two boxes of a class are one. Defaults
            to 0.55, that of the paper.

    Raises:
        InputError: For a model or loop without pseudo-labels, or a detector
            that is missing or has other classes.
    """

    def __init__(
        self, detectors: Sequence[str], iou_threshold: float = 0.55
    ) -> None:
        if isinstance(detectors, str) or not detectors:
            raise InputError(
                f'EnsembleTeacherHook: detectors={detectors!r}: give a list '
                'of checkpoints'
            )
        self.detectors = list(detectors)
        self.iou_threshold = iou_threshold

    def before_train(self, runner: Runner) -> None:
        """Let all detectors predict, and attach what they found.

        Args:
            runner (Runner): The runner.
        """
        model, loop = unwrapped_model(runner), runner.train_loop
        if not (
            hasattr(model, 'attach_labeler')
            and isinstance(loop, MeanTeacherLoop)
        ):
            raise InputError(
                f'EnsembleTeacherHook: {type(model).__name__} in '
                f'{type(loop).__name__} makes no pseudo-labels: take '
                'DSYMDetector and MeanTeacherLoop'
            )
        self._boxes = self.fused_boxes(
            unlabeled_paths(loop.unlabeled),
            loop.labeled[0].dataset.metainfo['classes'],
            ConfigDict({key: model.pseudo_cfg[key] for key in PSEUDO_CFG}),
        )
        model.attach_labeler(self.label)

    def fused_boxes(
        self, paths: Sequence[str], classes: Sequence[str], cfg: ConfigDict
    ) -> Dict[str, InstanceData]:
        """What the detectors find, each rank in its part of the images.

        Args:
            paths (Sequence[str]): Of the images.
            classes (Sequence[str]): Of the labelled images.
            cfg (ConfigDict): Inference settings of a teacher.

        Returns:
            dict[str, InstanceData]: Of each path, on all ranks.
        """
        # all are there before the first predicts
        files = [find_detector(x) for x in self.detectors]
        rank, world = get_dist_info()
        own = paths[rank::world]
        found = []
        for number, each in enumerate(files, 1):
            print_log(
                f'EnsembleTeacherHook: {number} of {len(files)}, '
                f'{each.checkpoint}, labels {len(paths)} images',
                'current',
            )
            found.append(predict(build(each, classes, cfg), own))
        boxes = {
            path: fuse(parts, self.iou_threshold, cfg)
            for path, *parts in zip(own, *found)
        }
        return {
            k: v for part in all_gather_object(boxes) for k, v in part.items()
        }

    def label(self, samples: Sequence[DetDataSample]) -> List[InstanceData]:
        """The boxes of a batch.

        Args:
            samples (Sequence[DetDataSample]): Of the images.

        Returns:
            list[InstanceData]: ``bboxes`` in pixels of the original,
            ``scores``, ``labels`` and ``rows``.
        """
        # selectors and filters write into what they get
        return [
            self._boxes[normalize_path(sample.img_path)].clone()
            for sample in samples
        ]


def find_detector(name: str) -> ModelFiles:
    """Find a checkpoint's config: of its name, or the only one beside it.

    Args:
        name (str): A checkpoint, or ``dsym://NAME``.

    Returns:
        ModelFiles: Existing files.

    Raises:
        InputError: If there is none or more than one.
    """
    if name.startswith(PREFIX):
        return resolve_model(name)
    path = Path(name)
    own = path.with_suffix('.py')  # as tools/ that publish or export write it
    configs = [own] if own.is_file() else sorted(path.parent.glob('*.py'))
    files = resolve_model(str(configs[0]) if configs else '*.py', name)
    if len(configs) > 1:
        raise InputError(
            f'EnsembleTeacherHook: beside {name} are {len(configs)} configs: '
            'leave the one that it was trained with'
        )
    return files


def build(
    files: ModelFiles, classes: Sequence[str], cfg: ConfigDict
) -> Predictor:
    """Load a detector without a trace in the training around it.

    Args:
        files (ModelFiles): Its files.
        classes (Sequence[str]): Of the labelled images.
        cfg (ConfigDict): Inference settings of a teacher.

    Returns:
        Predictor: The detector.

    Raises:
        InputError: If it has other classes.
    """
    scope = DefaultScope.get_current_instance()
    # its random weights are drawn before they are loaded
    with torch.random.fork_rng(devices=[]):
        predictor = build_predictor(files, cfg.score_thr, test_cfg=cfg)
    if scope is not None:
        init_default_scope(scope.scope_name)
    if predictor.classes != tuple(classes):
        raise InputError(
            f'EnsembleTeacherHook: {files.checkpoint} has the classes '
            f'{", ".join(predictor.classes)}, train_dataloader '
            f'{", ".join(classes)}: give detectors of these, in this order'
        )
    return predictor


def predict(predictor: Predictor, paths: Sequence[str]) -> List[InstanceData]:
    """Let a detector predict.

    Args:
        predictor (Predictor): The detector.
        paths (Sequence[str]): Of images.

    Returns:
        list[InstanceData]: One an image.
    """
    found: List[InstanceData] = []
    for start in range(0, len(paths), BATCH):
        read = [decode_image(x) for x in paths[start : start + BATCH]]
        boxes = iter(predictor([x for x, _ in read if x is not None]))
        for path, (image, error) in zip(paths[start:], read):
            # a data set may replace such images when it loads them
            if image is None:
                print_log(
                    f'EnsembleTeacherHook: {path} gets no labels ({error})',
                    'current',
                    logging.WARNING,
                )
            found.append(NOTHING.clone() if image is None else next(boxes))
    return found


def unlabeled_paths(loader: DataLoader) -> List[str]:
    """Normalized paths of the unlabelled images."""
    return [
        normalize_path(dataset.get_data_info(i)['img_path'])
        for dataset in real_datasets(loader.dataset)
        for i in range(len(dataset))
    ]


def fuse(
    found: Sequence[InstanceData], iou_threshold: float, cfg: ConfigDict
) -> InstanceData:
    """Fuse several detectors' boxes of one image.

    Args:
        found (Sequence[InstanceData]): Of each detector ``bboxes``,
            ``scores`` and ``labels``.
        iou_threshold (float): Above it two boxes of a class are one.
        cfg (ConfigDict): ``score_thr``, ``nms`` and ``max_per_img``.

    Returns:
        InstanceData: ``bboxes``, ``scores``, ``labels`` and ``rows``, the
        best first.
    """
    bboxes, scores, labels = weighted_boxes_fusion(
        *(
            [x[key].numpy() for x in found]
            for key in ('bboxes', 'scores', 'labels')
        ),
        iou_thr=iou_threshold,
        # two boxes of one detector count once
        conf_type='box_and_model_avg',
    )
    boxes = InstanceData(
        bboxes=bboxes.reshape(-1, 4), scores=scores, labels=labels.long()
    )
    boxes = boxes[boxes.scores >= cfg.score_thr]
    if len(boxes):
        _, keep = batched_nms(
            boxes.bboxes, boxes.scores, boxes.labels, cfg.nms
        )
        boxes = boxes[keep[: cfg.max_per_img]]
    boxes.rows = torch.arange(len(boxes))
    return boxes
