"""Compare the pseudo-labels of a training with annotations it never sees."""

import json
import math
import os
import os.path as osp
from typing import Any, Dict, List, Optional

import torch
from mmengine.dist import all_gather_object, is_main_process
from mmengine.hooks import Hook
from mmengine.registry import DATASETS, HOOKS
from mmengine.runner import Runner
from mmengine.structures import InstanceData
from terminaltables import AsciiTable

from ..errors import InputError
from ..evaluation.pseudo_label_audit import (
    PseudoLabelAudit,
    last_stage,
    nan_to_none,
)
from .same_classes import check_same_classes, labelled_of
from .unwrapped import unwrapped_model


@HOOKS.register_module()
class PseudoLabelAuditHook(Hook):
    """Tell in every epoch how many pseudo-labels are right.

    The hook reads ``model.pseudo_records``, which hold an image's path and
    its boxes after each stage of the selection, and judges them by
    annotations of the unlabelled images. It only reads: the annotations stay
    in the hook, no loader and no model sees them. Hard and soft targets of
    the last stage, ``certain`` and ``uncertain``, and the ``doubtful`` boxes
    that the student ignores are judged like stages, each for itself.

    After an epoch that had pseudo-labels it logs a table, gives the
    visualizer ``pseudo/<stage>_precision``, ``pseudo/<stage>_recall`` and
    ``pseudo/<stage>_boxes_per_image``, and writes all figures to
    ``out_file``, a list with one entry an epoch: ``epoch``, ``iter`` and
    ``stages``, see :meth:`PseudoLabelAudit.compute`. A resumed run goes on
    with that list; entries of epochs that it trains again are dropped.

    Args:
        dataset (dict): Config of a data set with the annotations of the
            unlabelled images, e.g. ``dict(type='NEUDETDataset',
            split='unlabeled_80')``. Ignored boxes are no truth.
        out_file (str): Where the figures go, below the work directory unless
            absolute. Defaults to ``'pseudo_labels.json'``.
    """

    def __init__(
        self, dataset: dict, out_file: str = 'pseudo_labels.json'
    ) -> None:
        self.dataset = dataset
        self.out_file = out_file

    def before_train(self, runner: Runner) -> None:
        """Read the truth, and what earlier sessions of the run wrote.

        Args:
            runner (Runner): The runner, resumed if it is to be.

        Raises:
            InputError: If the model makes no pseudo-labels, or the data set
                has no annotations or other classes, or ``out_file`` is
                damaged.
        """
        model = unwrapped_model(runner)
        if not hasattr(model, 'pseudo_records'):
            raise InputError(
                f'{type(model).__name__} has no pseudo_records to audit: '
                'remove PseudoLabelAuditHook from custom_hooks, or train a '
                'semi-supervised detector such as DSYMDetector'
            )
        dataset = DATASETS.build(
            dict(self.dataset, test_mode=True, pipeline=[])
        )
        name = f'{type(self).__name__}.dataset'
        check_same_classes(name, dataset, labelled_of(runner))
        truth = read_truth(dataset)
        if not any(len(instances) for instances in truth.values()):
            raise InputError(
                f'PseudoLabelAuditHook: its {type(dataset).__name__} has no '
                'annotations; name a data set that has them and leave out '
                'unlabeled=True'
            )
        self._audit = PseudoLabelAudit(truth, dataset.metainfo['classes'])
        self._path = osp.join(runner.work_dir, self.out_file)
        entries = read_entries(self._path)
        self._entries = [e for e in entries if e['epoch'] <= runner.epoch]
        if len(self._entries) < len(entries):
            self._write()

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Optional[dict] = None,
    ) -> None:
        """Judge the pseudo-labels of the step.

        Args:
            runner (Runner): The runner.
            batch_idx (int): Not used.
            data_batch (Any): Not used.
            outputs (dict, optional): Not used.
        """
        for record in unwrapped_model(runner).pseudo_records:
            self._audit.add(record.img_path, record.stages)

    def after_train_epoch(self, runner: Runner) -> None:
        """Log and write the figures of the epoch, of all ranks together.

        Args:
            runner (Runner): The runner.
        """
        gathered = all_gather_object(self._audit.counts)
        self._audit.reset()
        for counts in gathered:
            self._audit.merge(counts)
        stages = self._audit.compute()
        self._audit.reset()
        if not stages:
            return
        epoch = runner.epoch + 1
        runner.logger.info(
            f'pseudo-labels of epoch {epoch} at IoU 0.5, precision and '
            f'recall in percent\n{format_table(stages)}'
        )
        scalars = {
            f'pseudo/{stage}_{key}': figures[key]
            for stage, figures in stages.items()
            for key in ('precision', 'recall', 'boxes_per_image')
            if not math.isnan(figures[key])
        }
        runner.visualizer.add_scalars(scalars, step=epoch)
        self._entries.append(
            dict(epoch=epoch, iter=runner.iter, stages=nan_to_none(stages))
        )
        self._write()

    def _write(self) -> None:
        """Replace the file at once, so that a kill leaves a complete one."""
        if not is_main_process():
            return
        os.makedirs(osp.dirname(self._path), exist_ok=True)
        temporary = f'{self._path}.tmp'
        with open(temporary, 'w') as file:
            json.dump(self._entries, file, indent=1, allow_nan=False)
        os.replace(temporary, self._path)


def read_truth(dataset: Any) -> Dict[str, InstanceData]:
    """Take the annotations out of a data set without reading its images.

    Args:
        dataset (BaseDataset): A detection data set.

    Returns:
        dict[str, InstanceData]: ``bboxes`` (M, 4) xyxy in pixels and
        ``labels`` (M, ) by image path, without ignored boxes.
    """
    truth = {}
    for index in range(len(dataset)):
        info = dataset.get_data_info(index)
        instances = [
            instance
            for instance in info['instances']
            if not instance.get('ignore_flag')
        ]
        bboxes = [instance['bbox'] for instance in instances]
        labels = [instance['bbox_label'] for instance in instances]
        truth[info['img_path']] = InstanceData(
            bboxes=torch.tensor(bboxes, dtype=torch.float32).reshape(-1, 4),
            labels=torch.tensor(labels, dtype=torch.long),
        )
    return truth


def read_entries(path: str) -> List[dict]:
    """Read the figures of earlier sessions.

    Args:
        path (str): A file that :class:`PseudoLabelAuditHook` wrote, or may
            write.

    Returns:
        list[dict]: Its entries, none without the file.

    Raises:
        InputError: If the file is something else.
    """
    if not osp.isfile(path):
        return []
    try:
        with open(path) as file:
            entries = json.load(file)
        if all(isinstance(entry['epoch'], int) for entry in entries):
            return entries
    except (ValueError, KeyError, TypeError):
        pass
    raise InputError(
        f'{path} is no list of pseudo-label figures: move it away, or give '
        'PseudoLabelAuditHook another out_file'
    )


def format_table(stages: Dict[str, Dict[str, Any]]) -> str:
    """Draw all stages and parts, and below the classes of the last stage.

    Args:
        stages (dict[str, dict]): What :meth:`PseudoLabelAudit.compute` gave.

    Returns:
        str: A table with percentages.
    """
    rows = [['pseudo-labels', 'per image', 'boxes', 'precision', 'recall']]

    def add(name: str, figures: Dict[str, Any], images: int) -> None:
        percents = [100 * figures[key] for key in ('precision', 'recall')]
        rows.append(
            [
                name,
                f'{figures["boxes"] / images:.2f}',
                figures['boxes'],
                *('-' if math.isnan(p) else f'{p:.1f}' for p in percents),
            ]
        )

    for stage, figures in stages.items():
        add(stage, figures, figures['images'])
    stage = last_stage(stages)
    figures = stages[stage]
    for name, class_figures in figures['classes'].items():
        add(f'{stage} {name}', class_figures, figures['images'])
    return AsciiTable(rows).table
