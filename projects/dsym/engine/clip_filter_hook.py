import math
from collections import Counter
from itertools import chain
from typing import Any, Dict, List, Optional, Sequence, Union

import torch
from mmengine.dist import (
    all_gather_object,
    broadcast_object_list,
    is_main_process,
)
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ..clip.adapted import load_scorer
from ..clip.calibration import (
    REFUSED,
    WRONG_SHARES,
    calibrate,
    check_shares,
    labelled_samples,
)
from ..clip.checks import check_choice, check_number
from ..clip.pseudo_label_filter import ACTIONS, PseudoLabelFilter
from ..clip.scorer import MODES, CLIPScorer
from ..clip.typical import TypicalImages
from ..datasets.real_images import real_datasets
from ..errors import InputError
from ..models.task_modules import ScoreThreshold, TwoThresholds
from ..weights import DEFAULT_CLIP, resolve_weights
from .mean_teacher_loop import MeanTeacherLoop
from .unwrapped import unwrapped_model

STATE = 'clip_filter'  # in checkpoints


@HOOKS.register_module()
class CLIPFilterHook(Hook):
    """Let CLIP judge the teacher's pseudo-labels (section 3.4 of the paper).

    Two lines in a config::

        custom_hooks = [
            *_base_.custom_hooks, dict(type='CLIPFilterHook')]

    When phase 2 begins it loads the model, embeds the prompts and the
    unlabelled images (cached on disk, each rank its part), chooses thresholds
    on the labelled images, and attaches a :class:`PseudoLabelFilter` to the
    detector. Before every step it moves the thresholds,
    ``tau_t = tau_0 exp(-t / T lambda)`` (eq 19), T the steps of phase 2. After
    every epoch it logs how many images and boxes of each class passed, and
    their mean score. Before phase 1 it loads the model once, to see whether
    it fits; in phase 1 it does nothing.

    Measured on NEU-DET: alone, the packaged CLIP ranks pseudo-boxes worse than
    the teacher (AUROC 0.70 by 'cosine' against 0.85,
    ``configs/clip/README.md``). In trainings 'cosine' made 82% of the labels
    right in place of 75, of fewer defects, and mAP@0.5 0.1, 2.2 and -0.6
    higher (three seeds, ``configs/dsym/README.md``).

    Args:
        clip (str): A folder that :class:`ExportCLIPHook` wrote, a name of
            open_clip, ``hf-hub:...`` or ``dsym://...``. Defaults to the small
            one of the package, adapted to NEU-DET's classes.
        pretrained (str, optional): Tag or checkpoint of a name. Defaults to
            None.
        prompts (dict, optional): Of :class:`Prompts`. What is not given is
            the model's own, or the paper's.
        regions (dict, optional): Of :class:`RegionSettings`. What is not
            given is the model's own, or the default.
        mode (str): ``'cosine'`` (the paper), ``'softmax'`` or ``'contrast'``.
            Defaults to ``'softmax'``.
        action (str): ``'drop'``, ``'reweight'``, ``'relabel'`` or
            ``'rescore'``, which joins both scores before the selection.
            Defaults to ``'drop'``.
        weight (float): Of CLIP's score in ``'rescore'``. Defaults to 0.3.
        tau (float or Sequence[float], optional): tau_0 of boxes, of all
            classes or each. Defaults to None, by calibration.
        image_tau (float, optional): tau_0 of images; 0 asks for no score.
            Defaults to None, by calibration.
        typical (bool): Refuse images unlike all labelled ones. Defaults to
            True.
        conf (float): tau_conf, least score of the teacher. Defaults to 0: the
            selector has asked for it.
        decay (float): lambda. Defaults to 0.
        precision (float): What calibration aims at. Defaults to 0.8.
        prior (float): Precision of boxes before. Defaults to 0.6.
        wrong_shares (Sequence[float]): What the others are, as in
            :func:`calibrate`. Defaults to :data:`WRONG_SHARES`, near those of
            a teacher on NEU-DET.
        cache_dir (str, optional): Of features. Defaults to
            ``~/.cache/dsym/clip``.
        download_dir (str, optional): Of open_clip's downloads. Defaults to
            its own place.

    Raises:
        InputError: For a model, mode, action, number or prompt that does not
            fit, or a detector that takes no filter.
    """

    priority = 'LOW'

    def __init__(
        self,
        clip: str = DEFAULT_CLIP,
        pretrained: Optional[str] = None,
        prompts: Optional[dict] = None,
        regions: Optional[dict] = None,
        mode: str = 'softmax',
        action: str = 'drop',
        weight: float = 0.3,
        tau: Optional[Union[float, Sequence[float]]] = None,
        image_tau: Optional[float] = None,
        typical: bool = True,
        conf: float = 0.0,
        decay: float = 0.0,
        precision: float = 0.8,
        prior: float = 0.6,
        wrong_shares: Sequence[float] = WRONG_SHARES,
        cache_dir: Optional[str] = None,
        download_dir: Optional[str] = None,
    ) -> None:
        check_choice('mode', mode, MODES)
        check_choice('action', action, ACTIONS)
        check_shares(wrong_shares)
        check_number('weight', weight)
        check_number('tau', tau)
        check_number('image_tau', image_tau)
        check_number('conf', conf)
        check_number('precision', precision)
        check_number('prior', prior)
        check_number('decay', decay, math.inf)
        self.clip = resolve_weights(clip)
        self.download_dir = download_dir
        self.pretrained = pretrained
        self.prompts = prompts
        self.regions = regions
        self.mode = mode
        self.action = action
        self.weight = weight
        self.tau = tau
        self.image_tau = image_tau
        self.typical = typical
        self.conf = conf
        self.decay = decay
        self.precision = precision
        self.prior = prior
        self.wrong_shares = wrong_shares
        self.cache_dir = cache_dir
        self.filter: Optional[PseudoLabelFilter] = None
        self._state: Optional[dict] = None

    def before_train(self, runner: Runner) -> None:
        """Look whether everything fits before hours of phase 1.

        Args:
            runner (Runner): The runner.
        """
        model = unwrapped_model(runner)
        if not hasattr(model, 'attach_filter'):
            raise InputError(
                f'CLIPFilterHook: {type(model).__name__} takes no filter: '
                "set model=dict(type='DSYMDetector', detector=...)"
            )
        model.check_no_filter()
        loop = runner.train_loop
        if not isinstance(loop, MeanTeacherLoop):
            raise InputError(
                f'CLIPFilterHook: {type(loop).__name__} does not say which '
                "images are labelled: set train_cfg=dict(type='MeanTeacherLoop"
                "', ...)"
            )
        if self.action == 'reweight':
            model.check_weights(True)
        fixed = (ScoreThreshold, TwoThresholds)
        if self.action == 'rescore' and isinstance(model.selector, fixed):
            runner.logger.warning(
                "CLIPFilterHook: action='rescore' moves all scores, and "
                f'{type(model.selector).__name__} compares them with a fixed '
                'number: set that anew, or semi_train_cfg.selector=dict('
                "type='ClassThresholds')"
            )
        classes = loop.labeled[0].dataset.metainfo['classes']
        self.check_tau(self.tau, classes)
        # models begin with random weights: phase 1 shall draw its own
        with torch.random.fork_rng(devices=[]):
            self.load(classes)

    def check_tau(self, tau: Any, classes: Sequence[str]) -> None:
        """Raise unless there is one threshold, or one a class."""
        if isinstance(tau, (list, tuple)) and len(tau) != len(classes):
            raise InputError(
                f'CLIPFilterHook: tau has {len(tau)} thresholds for '
                f'{len(classes)} classes: give one each'
            )

    def before_train_epoch(self, runner: Runner) -> None:
        """Attach the filter when phase 2 begins.

        Args:
            runner (Runner): The runner.
        """
        loop = runner.train_loop
        if self.filter is None and loop.epoch >= loop.burn_in_epochs:
            self.filter = self.build(runner)
            unwrapped_model(runner).attach_filter(
                self.filter, before_selection=self.action == 'rescore'
            )

    def load(self, classes: Sequence[str], device: str = 'cpu') -> CLIPScorer:
        """Load the model as the settings say, for a data set's classes."""
        return load_scorer(
            self.clip,
            classes,
            self.mode,
            self.pretrained,
            self.prompts,
            self.regions,
            self.cache_dir,
            self.download_dir,
            device,
        )

    def build(self, runner: Runner) -> PseudoLabelFilter:
        """Load the model and make the filter."""
        device = next(runner.model.parameters()).device
        loop = runner.train_loop
        labeled = real_datasets(loop.labeled[0].dataset)
        scorer = self.load(labeled[0].metainfo['classes'], str(device))
        # one after the other: there may be millions
        unlabeled = (
            dataset.get_data_info(i)['img_path']
            for dataset in real_datasets(loop.unlabeled.dataset)
            for i in range(len(dataset))
        )
        samples = [x for data in labeled for x in labelled_samples(data)]
        paths = [path for path, *_ in samples]
        scorer.warm(chain(unlabeled, paths), share=True)
        # the same on all ranks, to the last digit
        states, resumed = [self._state], self._state is not None
        if self._state is None and is_main_process():
            states = [self.calibrate(scorer, samples)]
        broadcast_object_list(states)
        state = states[0]
        for key in ('tau', 'image_tau'):  # the config's own come before
            if getattr(self, key) is not None:
                state[key] = getattr(self, key)
        classes = scorer.prompts.classes
        if not isinstance(state['tau'], (list, tuple)):
            state['tau'] = [state['tau']] * len(classes)
        self.check_tau(state['tau'], classes)
        key = scorer.score_key
        if state.setdefault('model', key) != key:
            runner.logger.warning(
                f'CLIPFilterHook: {self.clip} scores otherwise than in the '
                'resumed run (model, mode, prompts or regions), for which '
                'the thresholds were chosen'
            )
        typical = None
        if self.typical:
            typical = TypicalImages.of(scorer, samples)
            # a distance is never above 0; a run without has no threshold
            kept = state['typical_tau']
            if resumed and (kept > 0 or math.isinf(kept)):
                runner.logger.warning(
                    'CLIPFilterHook: the resumed run measured the likeness '
                    'of images otherwise, or not: its threshold is chosen anew'
                )
                state['typical_tau'] = typical.least_own(REFUSED)
        counts = state.pop('counts', [])
        self._state = state
        found = PseudoLabelFilter(
            scorer,
            torch.tensor(state['tau']),
            state['image_tau'],
            self.conf,
            self.decay,
            self.action,
            self.weight,
            typical,
            state['typical_tau'],
        )
        if is_main_process():  # which wrote its own; others' are lost
            found.counts.update({tuple(key): n for key, n in counts})
        return found

    def calibrate(self, scorer: CLIPScorer, samples: List[tuple]) -> dict:
        """Thresholds of the config, or else of the labelled images."""
        state: Dict[str, Any] = dict(tau=self.tau, image_tau=self.image_tau)
        if self.tau is None or self.image_tau is None or self.typical:
            found = calibrate(
                scorer,
                samples,
                self.precision,
                self.prior,
                wrong_shares=self.wrong_shares,
            )
            state['typical_tau'] = found.typical_tau
            for key in ('tau', 'image_tau'):
                if state[key] is None:
                    state[key] = getattr(found, key)
        state.setdefault('typical_tau', float('-inf'))
        return state

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None
    ) -> None:
        """Move the thresholds (eq 19).

        Args:
            runner (Runner): The runner.
            batch_idx (int): Not used.
            data_batch (Any): Not used.
        """
        if self.filter is None:
            return
        loop = runner.train_loop
        first = loop.steps_before(loop.burn_in_epochs)
        steps = loop.max_iters - first
        self.filter.move_thresholds((loop.iter - first) / steps)

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Optional[dict] = None,
    ) -> None:
        """Log the share of boxes that the filter kept so far.

        Args:
            runner (Runner): The runner.
            batch_idx (int): Not used.
            data_batch (Any): Not used.
            outputs (dict, optional): Not used.
        """
        if self.filter is None:
            return
        seen = total(self.filter.counts, 'boxes')
        if seen:
            kept = total(self.filter.counts, 'boxes_kept')
            runner.message_hub.update_scalar('train/clip_kept', kept / seen)

    def after_train_epoch(self, runner: Runner) -> None:
        """Log the epoch's keep rates and scores of each class.

        Args:
            runner (Runner): The runner.
        """
        if self.filter is None:
            return
        counts: Counter = Counter()
        for of_rank in all_gather_object(self.filter.take_counts()):
            counts.update(of_rank)
        names = self.filter.scorer.prompts.classes
        seen = counts['images', None]
        share = counts['images_kept', None] / max(1, seen)
        lines = [f'CLIP kept {share:.1%} of {seen} images; of the boxes:']
        scalars = {'clip/images_kept': share}
        for i, name in enumerate(names):
            seen, scored = counts['boxes', i], counts['scored', i]
            share = counts['boxes_kept', i] / seen if seen else math.nan
            score = counts['score', i] / scored if scored else math.nan
            lines.append(
                f'  {name}: {share:.1%} of {seen}, mean score {score:.3f}'
            )
            if seen:
                scalars[f'clip/{name}_kept'] = share
                scalars[f'clip/{name}_score'] = score
        runner.logger.info('\n'.join(lines))
        runner.visualizer.add_scalars(scalars, step=runner.epoch + 1)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Put the thresholds and this epoch's counts into a checkpoint.

        Args:
            runner (Runner): The runner.
            checkpoint (dict): What is saved.
        """
        if self.filter is not None:
            counts = [*self.filter.counts.items()]
            checkpoint[STATE] = dict(self._state, counts=counts)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Take them back when a run is resumed.

        Args:
            runner (Runner): The runner.
            checkpoint (dict): What was loaded.
        """
        if runner._resume and STATE in checkpoint:
            self._state = dict(checkpoint[STATE])


def total(counts: Dict[Any, float], what: str) -> float:
    """Sum counts of all classes."""
    return sum(n for key, n in counts.items() if key[0] == what)
