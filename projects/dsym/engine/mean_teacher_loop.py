import logging
from itertools import islice
from typing import Dict, Iterator, List, Optional, Sequence, Union

import torch
from mmengine.dist import all_reduce_params, get_world_size
from mmengine.logging import print_log
from mmengine.registry import LOOPS, TASK_UTILS
from mmengine.runner import EpochBasedTrainLoop, Runner
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset

from ..datasets.real_images import real_images
from ..errors import InputError
from ..models.detectors.semi_settings import check_classes
from .labelled_classes_hook import LabelledClassesHook
from .mean_teacher_checks import (
    check_accumulation,
    check_ema,
    check_end,
    check_first_image,
    check_hooks,
    check_model,
    check_pace,
    check_schedules,
    check_views,
)
from .moving_teacher import MovingTeacher
from .same_classes import check_same_classes
from .unwrapped import unwrapped_model

# In the message hub, which checkpoints keep.
EMA_STATE = 'mean_teacher_ema'
LENGTHS = 'mean_teacher_lengths'  # steps of an epoch of phase 1 and of 2


@LOOPS.register_module()
class MeanTeacherLoop(EpochBasedTrainLoop):
    """The training algorithm of the DSYM paper (Table 1).

    Phase 1, ``burn_in_epochs`` epochs: the student learns from labelled
    batches; an epoch is one pass over ``train_dataloader``. Then the teacher
    takes the student's parameters and buffers. Phase 2: the student learns
    from labelled and unlabelled batches; an epoch is one pass over
    ``unlabeled_dataloader`` while the labelled loaders begin again as often as
    they have to; after every optimizer step the teacher moves (eq 3).

    A step takes one batch of every labelled loader, so the place in each of
    them follows from the number of steps, and a resumed run goes on where the
    other stopped. With ``SeededSampler`` and ``SeedAugmentations`` its images
    are the same too.

    Args:
        runner (Runner): The runner; its model has ``student`` and
            ``teacher``.
        dataloader (DataLoader or dict): Labelled images.
        unlabeled_dataloader (DataLoader or dict): Unlabelled images in the
            branches ``unsup_teacher`` and ``unsup_student``.
        max_epochs (int): Epochs of both phases.
        burn_in_epochs (int): Epochs of phase 1. Defaults to 0, for a student
            that was trained before (``load_from``).
        labeled_dataloaders (Sequence[dict]): More labelled images, such as
            synthetic ones, with batch sizes of their own. Defaults to ().
        ema (dict): Schedule of the coefficient: ``ConstantEMA``,
            ``WarmupEMA``, ``CosineEMA`` or ``AdaptiveEMA``. Defaults to
            ``ConstantEMA``.
        burn_in_ema (dict, optional): Schedule of an average in phase 1, so
            that phase 2 begins with an average and not with one moment of
            the student; the first coefficients of ``ema`` should then be
            high (``ConstantEMA``). Defaults to None: as in the paper, the
            teacher takes the student's parameters.
        **kwargs: As in :class:`EpochBasedTrainLoop`: ``val_interval``, ...

    Raises:
        InputError: If the phases, loaders, model or schedules do not fit.
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: Union[DataLoader, dict],
        unlabeled_dataloader: Union[DataLoader, dict],
        max_epochs: int,
        burn_in_epochs: int = 0,
        labeled_dataloaders: Sequence[dict] = (),
        ema: Dict = dict(type='ConstantEMA'),
        burn_in_ema: Optional[Dict] = None,
        **kwargs,
    ) -> None:
        super().__init__(runner, dataloader, max_epochs, **kwargs)
        if not 0 <= burn_in_epochs <= max_epochs:
            raise InputError(
                f'train_cfg.burn_in_epochs={burn_in_epochs}: give 0 to '
                f'train_cfg.max_epochs={max_epochs}'
            )
        self.burn_in_epochs = burn_in_epochs
        self.labeled = [
            self.dataloader,
            *map(self._build_loader, labeled_dataloaders),
        ]
        self.unlabeled = self._build_loader(unlabeled_dataloader)
        for loader in (*self.labeled, self.unlabeled):
            if not len(loader):
                raise InputError(
                    f'{type(loader.dataset).__name__} has '
                    f'{len(loader.dataset)} images, fewer than a batch of '
                    f'{loader.batch_size}: lower batch_size or set '
                    'drop_last=False'
                )
        self._max_iters = self.steps_before(max_epochs)
        self.ema = TASK_UTILS.build(ema)
        self.burn_in_ema = burn_in_ema and TASK_UTILS.build(burn_in_ema)
        self.move_teacher: Optional[MovingTeacher] = None
        self._sources: Optional[List[Iterator[dict]]] = None
        self.runner.register_hook(LabelledClassesHook())

    def _build_loader(self, loader: Union[DataLoader, dict]) -> DataLoader:
        config = self.runner._randomness_cfg
        return self.runner.build_dataloader(
            loader, self.runner.seed, config.get('diff_rank_seed', False)
        )

    def _sampler_seed(self, seed: int) -> int:
        config = self.runner._randomness_cfg
        return seed if config.get('diff_rank_seed') else self.runner.seed

    def steps_before(self, epoch: int) -> int:
        """Count the steps of all epochs before one."""
        burn_in = min(epoch, self.burn_in_epochs)
        first = burn_in * len(self.labeled[0])
        return first + (epoch - burn_in) * len(self.unlabeled)

    def run(self) -> torch.nn.Module:
        """Train both phases."""
        check_model(self.model, self.burn_in_epochs)
        check_hooks(self.runner.hooks)
        check_ema(self)
        check_schedules(self.runner.cfg.get('param_scheduler'), self)
        check_end(self.unlabeled)
        first, *others = (loader.dataset for loader in self.labeled)
        for dataset in others:
            check_same_classes(
                'train_cfg.labeled_dataloaders: a data set', dataset, first
            )
        check_accumulation(self)
        check_pace(self)
        check_first_image(self.unlabeled, self.model)
        self._check_lengths()
        # --resume drops load_from, also where there is nothing to resume
        if not (self.burn_in_epochs or self.runner._has_loaded):
            print_log(
                'train_cfg.burn_in_epochs=0 and no checkpoint was loaded: the '
                'first pseudo-labels are those of an untrained teacher, '
                "unless init_cfg brings a detector's weights. Give load_from "
                "a supervised detector's checkpoint, and no --resume at the "
                'first start.',
                logger='current',
                level=logging.WARNING,
            )
        selector = getattr(self.model, 'selector', None)
        if hasattr(selector, 'set_labeled'):
            labeled = real_images(self.labeled[0].dataset)
            selector.set_labeled(boxes_per_image(labeled))
            check_classes(selector, self.model.student.bbox_head)
        for loader in (*self.labeled, self.unlabeled):
            # a resumed run takes the seed of the first, after its loaders
            sampler = loader.batch_sampler.sampler
            if getattr(sampler, 'seed', None) is not None:
                sampler.seed = self._sampler_seed(sampler.seed)
        self.ema.usual = self.runner.message_hub.get_info(EMA_STATE)
        self.move_teacher = MovingTeacher(
            self.model.teacher, self.model.student
        )
        if not self.runner._resume and hasattr(self.model, 'begin_anew'):
            # of load_from come the detectors, not how far their run had come
            self.model.begin_anew()
        return super().run()

    def run_epoch(self) -> None:
        """Train one epoch of the phase that it belongs to."""
        semi_supervised = self._epoch >= self.burn_in_epochs
        self.dataloader = (
            self.unlabeled if semi_supervised else self.labeled[0]
        )
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        # a checkpoint that was loaded for phase 2 may bring its teacher; of a
        # plain detector's, what it lacks is drawn for both on their own
        loaded = not self.burn_in_epochs and getattr(
            self.model, 'loaded_teacher', bool(self.runner._load_from)
        )
        begin = 0 if self.burn_in_ema else self.burn_in_epochs
        begins = self._epoch == begin and not self._done_in_epoch()
        if begins and not loaded:
            self.move_teacher(alpha=0)
        if semi_supervised:
            for idx, unlabeled in self._unlabeled_batches():
                self.run_iter(idx, join([*self._labeled_batches(), unlabeled]))
        else:
            for idx in range(self._done_in_epoch(), len(self.dataloader)):
                self.run_iter(idx, join(self._labeled_batches()))
            if not self.burn_in_ema:
                # what is validated or saved after this epoch is the teacher
                self.move_teacher(alpha=0)
        if get_world_size() > 1:  # batch statistics are each rank's own
            model = self.model
            buffers = (
                x
                for part in (model.student, model.teacher)
                for x in part.buffers()
                if x.is_floating_point()
            )
            all_reduce_params(buffers, op='mean')
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1

    def run_iter(self, idx: int, data_batch: dict) -> None:
        """Train one step and move the teacher.

        Args:
            idx (int): Step in the epoch.
            data_batch (dict): ``inputs`` and ``data_samples``, each by branch
                a list of one an image.
        """
        self.runner.call_hook(
            'before_train_iter', batch_idx=idx, data_batch=data_batch
        )
        optim_wrapper = self.runner.optim_wrapper
        outputs = self.runner.model.train_step(data_batch, optim_wrapper)
        stepped = getattr(optim_wrapper, 'should_update', lambda: True)()
        begin = self.steps_before(self.burn_in_epochs)
        if self._epoch < self.burn_in_epochs:
            if self.burn_in_ema and stepped:
                self.move_teacher(self.burn_in_ema(self._iter, begin))
        elif stepped:
            disagreement = getattr(self.model, 'disagreement', None)
            alpha = self.ema(
                self._iter - begin, self._max_iters - begin, disagreement
            )
            self.move_teacher(alpha)
            hub = self.runner.message_hub
            hub.update_scalar('train/ema_alpha', alpha)
            hub.update_info(EMA_STATE, self.ema.usual)
        self.runner.call_hook(
            'after_train_iter',
            batch_idx=idx,
            data_batch=data_batch,
            outputs=outputs,
        )
        self._iter += 1

    @property
    def model(self) -> torch.nn.Module:
        """The model inside a distributed wrapper."""
        return unwrapped_model(self.runner)

    def restart_labeled(self) -> None:
        """Begin the labelled loaders anew, after a change of a pipeline."""
        self._sources = None

    def _check_lengths(self) -> None:
        """Raise if a resumed run's epochs had another number of steps.

        Its place in the epoch could not be told, and steps would be left out
        or done twice.
        """
        hub = self.runner.message_hub
        lengths = [len(self.labeled[0]), len(self.unlabeled)]
        begun = hub.get_info(LENGTHS, lengths)
        hub.update_info(LENGTHS, lengths)
        if self.runner._resume and list(begun) != lengths:
            raise InputError(
                f'resume: epochs of phase 1 and 2 had {begun[0]} and '
                f'{begun[1]} steps and now have {lengths[0]} and '
                f'{lengths[1]}: resume with the batch sizes, processes and '
                'images of before, or give the checkpoint to load_from'
            )

    def _done_in_epoch(self) -> int:
        """Steps of this epoch that a resumed run has behind it."""
        return self._iter - self.steps_before(self._epoch)

    def _labeled_batches(self) -> List[dict]:
        """The next batch of every labelled loader."""
        if self._sources is None:
            self._sources = [endless(x, self._iter) for x in self.labeled]
        return [next(source) for source in self._sources]

    def _unlabeled_batches(self) -> Iterator[tuple]:
        """The rest of this epoch's pass over the unlabelled images."""
        done = self._done_in_epoch()
        number = self._epoch - self.burn_in_epochs
        batches = one_pass(self.unlabeled, number, done)
        for idx, batch in enumerate(batches, done):
            check_views(batch)
            yield idx, batch


def one_pass(loader: DataLoader, number: int, done: int) -> Iterator[dict]:
    """Batches of a pass over a loader from batch ``done`` on.

    Args:
        loader (DataLoader): The loader.
        number (int): Which pass, for the shuffling.
        done (int): Batches that are left out.

    Returns:
        Iterator[dict]: The others.
    """
    sampler = loader.batch_sampler.sampler
    if hasattr(sampler, 'set_epoch'):
        sampler.set_epoch(number)
    # other batches, as of AspectRatioBatchSampler, are no run of indices
    plain = type(loader.batch_sampler) is BatchSampler
    if done and plain and hasattr(sampler, 'first'):
        sampler.first = done * loader.batch_sampler.batch_size
        done = 0
    return islice(loader, done, None)


def endless(loader: DataLoader, done: int) -> Iterator[dict]:
    """Batches of a loader for ever, from batch ``done`` on.

    Args:
        loader (DataLoader): The loader.
        done (int): Batches, of all passes, that are left out.

    Yields:
        dict: A batch.
    """
    number, done = divmod(done, len(loader))
    while True:
        yield from one_pass(loader, number, done)
        number, done = number + 1, 0


def join(batches: Sequence[dict]) -> dict:
    """Join batches to one of several branches, as mmdet's ``MultiBranch``.

    Args:
        batches (Sequence[dict]): ``inputs`` and ``data_samples``, each a list,
            which is the branch ``sup``, or lists by branch.

    Returns:
        dict: ``inputs`` and ``data_samples``, each by branch a list.

    Raises:
        InputError: If a loader stacks its images.
    """
    joined: Dict[str, dict] = {'inputs': {}, 'data_samples': {}}
    for batch in batches:
        if isinstance(batch['inputs'], Tensor):
            raise InputError(
                'MeanTeacherLoop: a loader gives stacked images: set '
                "collate_fn=dict(type='pseudo_collate') of each"
            )
        for key, branches in joined.items():
            values = batch[key]
            if isinstance(values, list):
                values = {'sup': values}
            for branch, samples in values.items():
                samples = [x for x in samples if x is not None]
                if samples:
                    branches.setdefault(branch, []).extend(samples)
    return joined


def boxes_per_image(dataset: Dataset) -> List[float]:
    """Count a labelled data set's boxes.

    Args:
        dataset (Dataset): With ``get_data_info`` and ``metainfo``.

    Returns:
        list[float]: Mean number of boxes of each class.
    """
    counts = [0] * len(dataset.metainfo['classes'])
    for i in range(len(dataset)):
        for instance in dataset.get_data_info(i)['instances']:
            counts[instance['bbox_label']] += not instance.get(
                'ignore_flag', 0
            )
    return [count / len(dataset) for count in counts]
