"""Refuse to start a run that is bound to fail or to train from noise."""

import logging
import math
import os
import os.path as osp
import shutil
from typing import Optional, Sequence

from mmdet.engine.hooks import MeanTeacherHook
from mmdet.models.dense_heads.base_dense_head import BaseDenseHead
from mmdet.models.roi_heads.bbox_heads import BBoxHead
from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.hooks import CheckpointHook, EMAHook, Hook
from mmengine.registry import HOOKS
from mmengine.runner import BaseLoop, Runner, find_latest_checkpoint
from torch.optim import Optimizer

from ..checkpoint_loading import load_and_compare
from ..errors import InputError
from ..models.detectors import DSYMDetector
from ..models.detectors.checkpoints import has_part
from .same_classes import labelled_of
from .unwrapped import unwrapped_model

# Logs, figures and the message hub beside the tensors of a checkpoint.
SPARE_BYTES = 64 * 2**20


@HOOKS.register_module()
class PreflightHook(Hook):
    """Check a checkpoint's fit and the free disk space before training.

    MMEngine loads non-strictly: a checkpoint of another architecture gives
    one long warning and training then starts from noise. This hook loads it
    with the model's own rules first (so that a plain detector's checkpoint
    still fits a teacher-student model) and

    - raises when entries are missing or of another shape, in one line that
      names the file, how much of the model it fits and the remedy;
    - warns when only entries below a ``head`` differ in shape, as in
      fine-tuning on other classes, or only ``optional`` ones are missing.

    Before training it compares the free space of the checkpoints' disk with
    what the planned checkpoints need: weights and EMA weights of each, its
    optimizer state, how many :class:`~mmengine.hooks.CheckpointHook` keeps.

    Args:
        optional (Sequence[str]): Parts of entry names that a checkpoint may
            lack, such as branches that exist in training only. Defaults to
            ``('aux',)``.
        min_fit (float): Share of the model's entries that must fit even if
            all others lie in heads. Defaults to 0.5.
    """

    # Before EMAHook, which would load the same checkpoint.
    priority = 'VERY_HIGH'

    def __init__(
        self, optional: Sequence[str] = ('aux',), min_fit: float = 0.5
    ) -> None:
        self.optional = tuple(optional)
        self.min_fit = min_fit

    def before_train(self, runner: Runner) -> None:
        """Raise for too little disk, a standing teacher, other classes.

        Args:
            runner (Runner): The runner of the training process.

        Raises:
            InputError: On all ranks, with one line of figures and remedy.
        """
        check_teacher(runner)
        check_num_classes(runner)
        # Only rank 0 writes; the others must not wait for it for ever.
        message = [disk_shortage(runner) if is_main_process() else None]
        broadcast_object_list(message)
        if message[0]:
            raise InputError(message[0])

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Raise if the checkpoint is not one of this architecture.

        Args:
            runner (Runner): The runner.
            checkpoint (dict): What was read from the file.

        Raises:
            InputError: One line with the file, the fit and the remedy.
        """
        check_tested_classes(runner, checkpoint)
        model = unwrapped_model(runner)
        total, missing, mismatched = load_and_compare(model, checkpoint)
        lacking = [k for k in missing if not self._is_optional(k)]
        misfits = [k for k in mismatched if not in_head(k)]
        num_fit = total - len(missing) - len(mismatched)
        figures = (
            f'{_file_name(runner)} fits {num_fit} of the {total} entries of '
            f'{type(model).__name__}'
        )
        if lacking or misfits or num_fit < self.min_fit * total:
            detail = ''
            if lacking:
                detail = f'; {len(lacking)} are missing, as {lacking[0]}'
            elif misfits:
                detail = (
                    f'; {len(misfits)} outside the head have another '
                    f'shape, as {misfits[0]}'
                )
            if has_part(checkpoint.get('state_dict', checkpoint), 'student.'):
                raise InputError(
                    f'{figures}: it holds a teacher and a student; write the '
                    "teacher's weights by tools/export_detector.py, and give "
                    'these'
                )
            raise InputError(
                f'{figures}{detail}: it is of another architecture; give the '
                'config it was trained with, or load only a part of it by '
                "init_cfg=dict(type='Pretrained', checkpoint=..., prefix=...)"
            )
        if missing or mismatched:
            runner.logger.log(
                logging.WARNING,
                f'{figures}: {len(mismatched)} class-dependent ones have '
                f'another shape, {len(missing)} optional ones are missing; '
                'these start from their initial values',
            )

    def _is_optional(self, key: str) -> bool:
        return any(part in key for part in self.optional)


def check_teacher(runner: Runner) -> None:
    """Raise if mmdet's hook leaves out a teacher's batch statistics.

    That is its default, made for backbones whose statistics are frozen: a
    teacher of ours would predict with those of its first step for ever.

    Args:
        runner (Runner): The runner of the training process.

    Raises:
        InputError: If the teacher has statistics that move.
    """
    model = unwrapped_model(runner)
    for hook in runner.hooks:
        if (
            isinstance(model, DSYMDetector)
            and isinstance(hook, MeanTeacherHook)
            and hook.skip_buffers
            and any(
                'running_mean' in x for x, _ in model.teacher.named_buffers()
            )
        ):
            raise InputError(
                'custom_hooks: mmdet.MeanTeacherHook leaves the batch '
                "statistics of DSYMDetector's teacher as they were at the "
                'first step: set skip_buffer=False, or take MeanTeacherLoop'
            )


def check_num_classes(runner: Runner) -> None:
    """Raise if a head and the labelled images differ in their classes.

    It would be told by a tensor's index, or by the first validation.

    Args:
        runner (Runner): The runner of the training process.

    Raises:
        InputError: If the data set tells its classes and a head has another
            number. First stages (``rpn_head``) have none.
    """
    metainfo = getattr(labelled_of(runner), 'metainfo', {})
    classes = metainfo.get('classes')
    if not classes:
        return
    for name, module in unwrapped_model(runner).named_modules():
        if not isinstance(module, (BaseDenseHead, BBoxHead)):
            continue
        known = getattr(module, 'num_classes', None)
        of_rpn = 'rpn_head' in name.split('.')
        if not of_rpn and known not in (None, len(classes)):
            raise InputError(
                f'model: {name} is for {known} classes, but the images of '
                f'train_dataloader have {len(classes)}, '
                f'{", ".join(classes)}: set num_classes and metainfo alike'
            )


def check_tested_classes(runner: Runner, checkpoint: dict) -> None:
    """Raise if a test set numbers the checkpoint's classes otherwise.

    Args:
        runner (Runner): Of a test; of a training nothing is looked at.
        checkpoint (dict): Whose ``meta`` may tell the classes.

    Raises:
        InputError: If they are the same in another order.
    """
    if not isinstance(runner._test_loop, BaseLoop):
        return
    dataset = runner._test_loop.dataloader.dataset
    meta = (checkpoint.get('meta') or {}).get('dataset_meta') or {}
    trained, tested = (
        list(x.get('classes') or ())
        for x in (meta, getattr(dataset, 'metainfo', {}))
    )
    if trained != tested and sorted(trained) == sorted(tested):
        raise InputError(
            f'{_file_name(runner)}: trained on the classes '
            f'{", ".join(trained)}, test_dataloader has {", ".join(tested)}: '
            'give metainfo the same order and, in YOLO text files, numbers'
        )


def in_head(key: str) -> bool:
    """Whether an entry belongs to a head (``bbox_head.cls_preds...``)."""
    return any('head' in part for part in key.split('.'))


def disk_shortage(runner: Runner) -> Optional[str]:
    """Compare the disk's free space with the planned checkpoints.

    Args:
        runner (Runner): The runner, with optimizer and hooks built.

    Returns:
        str, optional: One line if the space is too small, else None.
    """
    hooks = [h for h in runner.hooks if isinstance(h, CheckpointHook)]
    for hook in hooks:
        folder = runner.work_dir
        if hook.out_dir is not None:
            folder = osp.join(
                str(hook.out_dir),
                osp.basename(runner.work_dir.rstrip(osp.sep)),
            )
        if '://' in folder:
            continue  # an object store's space cannot be asked for
        count = planned_checkpoints(runner, hook)
        num_best = len(hook.save_best or ())
        weights = _state_bytes(runner)
        full = weights + hook.save_optimizer * _optimizer_bytes(runner)
        needed = count * full + num_best * weights + SPARE_BYTES
        if runner._resume:
            needed -= _existing_bytes(folder)
        existing = folder
        while not osp.isdir(existing):
            existing = osp.dirname(osp.abspath(existing))
        free = shutil.disk_usage(existing).free
        if needed > free:
            return (
                f'{folder}: {count} checkpoints of {_mb(full)} MB and '
                f'{num_best} best of {_mb(weights)} MB need {_mb(needed)} '
                f'MB, but only {_mb(free)} MB are free: free some space, '
                'choose another work_dir, or lower '
                'default_hooks.checkpoint.max_keep_ckpts'
            )
    return None


def planned_checkpoints(runner: Runner, hook: CheckpointHook) -> int:
    """How many regular checkpoints will lie on the disk at the same time.

    Args:
        runner (Runner): The runner, with its train loop built.
        hook (CheckpointHook): Who writes them.

    Returns:
        int: ``max_keep_ckpts``, or fewer if fewer are written.
    """
    steps = runner.max_epochs if hook.by_epoch else runner.max_iters
    saved = range(0)
    if hook.interval > 0:
        first = hook.save_begin or hook.interval
        saved = range(first, steps + 1, hook.interval)
    count = len(saved) + (hook.save_last and steps not in saved)
    return (
        min(count, hook.max_keep_ckpts) if hook.max_keep_ckpts > 0 else count
    )


def _tensor_bytes(tensors) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)


def _state_bytes(runner: Runner) -> int:
    """Bytes of the weights in a checkpoint, with an EMA's copy of them."""
    copies = 1 + sum(isinstance(hook, EMAHook) for hook in runner.hooks)
    return copies * _tensor_bytes(runner.model.state_dict().values())


def _optimizer_bytes(runner: Runner) -> int:
    """Bytes of the optimizer state once every parameter has been updated."""
    wrapper = runner.optim_wrapper
    optimizers = (
        [wrap.optimizer for wrap in wrapper.values()]
        if hasattr(wrapper, 'values')
        else [wrapper.optimizer]
    )
    return sum(
        _state_copies(optimizer) * _tensor_bytes(group['params'])
        for optimizer in optimizers
        for group in optimizer.param_groups
    )


def _state_copies(optimizer: Optimizer) -> int:
    """Tensors that an optimizer keeps for each parameter."""
    defaults = optimizer.defaults
    if 'betas' in defaults:
        return 2 + bool(defaults.get('amsgrad'))
    if 'momentum' in defaults and 'alpha' not in defaults:
        return int(defaults['momentum'] > 0)
    return 2


def _existing_bytes(folder: str) -> int:
    """Bytes of checkpoints that a resumed run replaces or counts as its."""
    if not osp.isdir(folder):
        return 0
    return sum(
        entry.stat().st_size
        for entry in os.scandir(folder)
        if entry.is_file() and entry.name.endswith('.pth')
    )


def _file_name(runner: Runner) -> str:
    """The file that is being loaded, which MMEngine does not tell hooks."""
    name = runner._load_from
    if name is None and runner._resume:
        name = find_latest_checkpoint(runner.work_dir)
    return str(name or 'the checkpoint')


def _mb(num_bytes: float) -> int:
    return math.ceil(num_bytes / 2**20)
