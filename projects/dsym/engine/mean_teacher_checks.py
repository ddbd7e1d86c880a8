"""What :class:`MeanTeacherLoop` refuses before the first step."""

import logging
import math
import random
from typing import Sequence, Union

import numpy as np
import torch
from mmdet.datasets.samplers import MultiSourceSampler
from mmdet.engine.hooks import (
    MeanTeacherHook,
    PipelineSwitchHook,
    YOLOXModeSwitchHook,
)
from mmdet.models.detectors import SemiBaseDetector
from mmengine.dataset import InfiniteSampler
from mmengine.hooks import EMAHook, Hook
from mmengine.logging import print_log
from mmengine.runner import EpochBasedTrainLoop
from mmyolo.engine.hooks import (
    PPYOLOEParamSchedulerHook,
    YOLOv5ParamSchedulerHook,
)
from mmyolo.engine.hooks import YOLOXModeSwitchHook as MMYOLOModeSwitchHook
from torch.utils.data import DataLoader

from ..datasets.nested import nested
from ..datasets.untracked import untracked_step
from ..errors import InputError
from ..models.detectors.pseudo_labels import homographies
from .ema_schedules import AdaptiveEMA

ENDLESS = (InfiniteSampler, MultiSourceSampler)
VIEWS = ('unsup_teacher', 'unsup_student')
AVERAGES = (EMAHook, MeanTeacherHook)
SWITCHES = (PipelineSwitchHook, YOLOXModeSwitchHook, MMYOLOModeSwitchHook)
SCHEDULES = (YOLOv5ParamSchedulerHook, PPYOLOEParamSchedulerHook)


def check_model(model: torch.nn.Module, burn_in_epochs: int = 0) -> None:
    """Raise unless a model has what the loop trains.

    Args:
        model (nn.Module): The model inside a distributed wrapper.
        burn_in_epochs (int): Of phase 1, with labelled images alone.
            Defaults to 0.

    Raises:
        InputError: If it has no student and teacher, or its loss asks for
            unlabelled images in phase 1 too.
    """
    if not (hasattr(model, 'student') and hasattr(model, 'teacher')):
        raise InputError(
            f'MeanTeacherLoop: {type(model).__name__} has no student and '
            "teacher: set model=dict(type='DSYMDetector', detector=...)"
        )
    if burn_in_epochs and type(model).loss is SemiBaseDetector.loss:
        raise InputError(
            f'train_cfg.burn_in_epochs={burn_in_epochs}: the loss of '
            f'{type(model).__name__} asks for unlabelled images from the '
            'first step on: set 0, and load_from to a checkpoint of its '
            'detector'
        )


def check_hooks(hooks: Sequence[Hook]) -> None:
    """Raise :class:`InputError` for hooks that know one loader or average.

    ``runner.train_dataloader`` is the labelled loader in phase 1 and the
    unlabelled one in phase 2.

    Args:
        hooks (Sequence[Hook]): The runner's.
    """
    for hook in hooks:
        name = type(hook).__name__
        if isinstance(hook, AVERAGES):
            raise InputError(
                f'MeanTeacherLoop moves the teacher itself: take {name} out '
                'of custom_hooks, or there is an average of the average'
            )
        if isinstance(hook, SWITCHES):
            raise InputError(
                f'MeanTeacherLoop: {name} of custom_hooks would change the '
                'unlabelled images in phase 2: take CloseMosaicHook, which '
                'changes the labelled ones'
            )
        if isinstance(hook, SCHEDULES):
            raise InputError(
                f'MeanTeacherLoop: {name} counts all epochs with the length '
                'of one loader: set default_hooks.param_scheduler=dict('
                "type='ParamSchedulerHook') and a param_scheduler with "
                'by_epoch=False'
            )


def check_schedules(
    config: Union[dict, Sequence[dict], None], loop: EpochBasedTrainLoop
) -> None:
    """Raise if a schedule's epochs would be counted with one length.

    mmengine turns epochs into steps by the length of the first loader.

    Args:
        config (dict or Sequence[dict], optional): ``param_scheduler``.
        loop (MeanTeacherLoop): The loop.

    Raises:
        InputError: If a schedule reaches into phase 2 so.
    """
    schedules = [config] if isinstance(config, dict) else config or []
    for schedule in schedules:
        end = schedule.get('end', loop.max_epochs)
        if (
            schedule.get('convert_to_iter_based')
            and end > loop.burn_in_epochs
            and len(loop.labeled[0]) != len(loop.unlabeled)
        ):
            raise InputError(
                f'param_scheduler {schedule.type}: convert_to_iter_based '
                'counts all epochs with the length of the labelled loader: '
                'set by_epoch=False, and no end for a schedule that lasts '
                'until the end'
            )


def check_ema(loop: EpochBasedTrainLoop) -> None:
    """Raise if nothing tells an adaptive average the disagreement.

    Args:
        loop (MeanTeacherLoop): The loop.

    Raises:
        InputError: If there is none in the phase that asks for it.
    """
    if isinstance(loop.burn_in_ema, AdaptiveEMA):
        raise InputError(
            'train_cfg.burn_in_ema: in phase 1 AdaptiveEMA has no '
            'disagreement to follow: take WarmupEMA or ConstantEMA'
        )
    model = loop.model
    told = hasattr(model, 'disagreement') and (
        getattr(model, 'consistency', model) is not None
    )
    if isinstance(loop.ema, AdaptiveEMA) and not told:
        raise InputError(
            'train_cfg.ema: AdaptiveEMA follows a disagreement that the model '
            "does not give: set semi_train_cfg.consistency=dict(type='"
            "ConsistencyLoss'), or take ConstantEMA"
        )


def check_accumulation(loop: EpochBasedTrainLoop) -> None:
    """Warn if epochs end within an accumulation of gradients.

    A checkpoint holds no gradients: a run that is resumed there is without
    those of the steps before.

    Args:
        loop (MeanTeacherLoop): The loop.
    """
    wrapper = loop.runner.optim_wrapper
    counts = getattr(wrapper, '_accumulative_counts', 1)
    lengths = [len(loop.unlabeled)]
    if loop.burn_in_epochs:
        lengths.append(len(loop.labeled[0]))
    if any(length % counts for length in lengths):
        print_log(
            f'optim_wrapper.accumulative_counts={counts}: epochs of '
            f'{" and ".join(map(str, lengths))} steps end within an '
            'accumulation, and a run resumed from there loses its gradients. '
            'For resumed runs equal to unbroken ones choose batch sizes of '
            'which an epoch is a multiple',
            logger='current',
            level=logging.WARNING,
        )


def check_pace(loop: EpochBasedTrainLoop) -> None:
    """Warn if phase 2 ends before it has had its effect.

    Configs are written for so many images; with few of them the same epochs
    have few steps.

    Args:
        loop (MeanTeacherLoop): The loop.
    """
    steps = loop.max_iters - loop.steps_before(loop.burn_in_epochs)
    if not steps:
        return
    cfg = getattr(loop.model, 'semi_train_cfg', None) or {}
    ramp_steps = cfg.get('ramp_steps', 0)
    if ramp_steps > steps:
        print_log(
            f'model.semi_train_cfg.ramp_steps={ramp_steps}, but phase 2 has '
            f'{steps} steps: unlabelled images never count in full. Give '
            'about a fifth of its steps, or more epochs',
            logger='current',
            level=logging.WARNING,
        )
    kept = math.prod(loop.ema(step, steps) for step in range(steps))
    if kept > 0.5:
        print_log(
            f'train_cfg.ema: after the {steps} steps of phase 2 the teacher '
            f'is still {100 * kept:.0f}% of what it began with. Give a lower '
            f'alpha ({0.01 ** (1 / steps):.3g} leaves 1%), or more epochs',
            logger='current',
            level=logging.WARNING,
        )


def check_views(batch: dict) -> None:
    """Raise unless a batch of unlabelled images has both views.

    One without them would count as a labelled image that shows nothing.

    Args:
        batch (dict): ``inputs`` of the unlabelled loader.

    Raises:
        InputError: If an image lacks one.
    """
    inputs = batch['inputs']
    for branch in VIEWS:
        views = inputs.get(branch, ()) if isinstance(inputs, dict) else ()
        if not len(views) or any(view is None for view in views):
            raise InputError(
                f'train_cfg.unlabeled_dataloader gives no {branch}: end the '
                "pipeline of its dataset with dict(type='mmdet.MultiBranch', "
                'unsup_teacher=..., unsup_student=...) as unlabeled_pipeline '
                'of configs/_base_/datasets/semi_224.py'
            )


def check_end(loader: DataLoader) -> None:
    """Raise if a pass over the unlabelled images, an epoch, never ends.

    Args:
        loader (DataLoader): Of unlabelled images.

    Raises:
        InputError: For a sampler that goes on for ever.
    """
    sampler = loader.batch_sampler.sampler
    if isinstance(sampler, ENDLESS):
        raise InputError(
            f'train_cfg.unlabeled_dataloader.sampler: {type(sampler).__name__}'
            ' never ends an epoch: take SeededSampler or DefaultSampler'
        )


def check_first_image(loader: DataLoader, model: torch.nn.Module) -> None:
    """Load an unlabelled image: its faults would show after phase 1 only.

    Args:
        loader (DataLoader): Of unlabelled images.
        model (nn.Module): mmdet's semi-supervised detectors, and ours, move
            boxes between the views.

    Raises:
        InputError: If it lacks a view or the way between them, or a step
            does not record its part of that way.
    """
    # the run's own draws stay as they are
    states = random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        batch = loader.collate_fn([loader.dataset[0]])
    random.setstate(states[0])
    np.random.set_state(states[1])
    check_views(batch)
    if isinstance(model, SemiBaseDetector):
        problem = untracked_step(
            x.pipeline
            for x in nested(loader.dataset)
            if hasattr(x, 'pipeline')
        )
        if problem:
            raise InputError(f'train_cfg.unlabeled_dataloader: {problem}')
        for branch in VIEWS:
            homographies(batch['data_samples'][branch], 'cpu')
