import json
import math
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Union

import torch
from mmengine.dataset import ConcatDataset
from mmengine.dist import barrier, is_main_process
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch.utils.data import DataLoader

from ..clip.calibration import calibrate, labelled_samples
from ..clip.models import LOCAL, SETTINGS, check_clip, load_clip
from ..clip.prompts import Prompts
from ..clip.pseudo_label_filter import PseudoLabelFilter
from ..clip.regions import RegionSettings
from ..clip.scorer import CLIPScorer
from ..errors import InputError

STATE = 'clip_filter'  # in checkpoints


@HOOKS.register_module()
class CLIPFilterHook(Hook):
    """Let CLIP judge the teacher's pseudo-labels (section 3.4 of the paper).

    Two lines in a config::

        custom_hooks = [..., dict(type='CLIPFilterHook', clip='clip/')]

    When phase 2 begins it loads the model, embeds the prompts and the
    unlabelled images (cached on disk), chooses thresholds on the labelled
    images, and attaches a :class:`PseudoLabelFilter` to the detector. Before
    every step it moves the thresholds, ``tau_t = tau_0 exp(-t / T lambda)``
    (eq 19), T the steps of phase 2. After every epoch it logs how many images
    and boxes of each class passed, and their mean score. In phase 1 it does
    nothing but look whether the files are there.

    Args:
        clip (str): A folder that :class:`ExportCLIPHook` wrote, a name of
            open_clip or ``hf-hub:...``.
        pretrained (str, optional): Tag or checkpoint of a name. Defaults to
            None.
        prompts (dict, optional): Of :class:`Prompts`. Defaults to those of
            the folder, or the paper's.
        regions (dict, optional): Of :class:`RegionSettings`. Defaults to
            those of the folder, or its own.
        mode (str): ``'cosine'`` (the paper), ``'softmax'`` or ``'contrast'``.
            Defaults to ``'softmax'``.
        action (str): ``'drop'``, ``'reweight'`` or ``'relabel'``. Defaults to
            ``'drop'``.
        tau (float or Sequence[float], optional): tau_0 of boxes, of all
            classes or each. Defaults to None, by calibration.
        image_tau (float, optional): tau_0 of images; 0 keeps all. Defaults
            to None, by calibration.
        typical (bool): Refuse images unlike all labelled ones. Defaults to
            True.
        conf (float): tau_conf, least score of the teacher. Defaults to 0: the
            selector has asked for it.
        decay (float): lambda. Defaults to 0.
        precision (float): What calibration aims at. Defaults to 0.8.
        prior (float): Precision of boxes before. Defaults to 0.6.
        cache_dir (str, optional): Of features. Defaults to
            ``~/.cache/dsym/clip``.

    Raises:
        InputError: For a model, mode, action or prompt that does not fit, or
            a detector that takes no filter.
    """

    priority = 'LOW'

    def __init__(
        self,
        clip: str,
        pretrained: Optional[str] = None,
        prompts: Optional[dict] = None,
        regions: Optional[dict] = None,
        mode: str = 'softmax',
        action: str = 'drop',
        tau: Optional[Union[float, Sequence[float]]] = None,
        image_tau: Optional[float] = None,
        typical: bool = True,
        conf: float = 0.0,
        decay: float = 0.0,
        precision: float = 0.8,
        prior: float = 0.6,
        cache_dir: Optional[str] = None,
    ) -> None:
        self.clip = clip
        self.pretrained = pretrained
        self.prompts = prompts
        self.regions = regions
        self.mode = mode
        self.action = action
        self.tau = tau
        self.image_tau = image_tau
        self.typical = typical
        self.conf = conf
        self.decay = decay
        self.precision = precision
        self.prior = prior
        self.cache_dir = cache_dir
        self.filter: Optional[PseudoLabelFilter] = None
        self._state: Optional[dict] = None

    def before_train(self, runner: Runner) -> None:
        """Look whether everything fits before hours of phase 1.

        Args:
            runner (Runner): The runner.
        """
        model = unwrapped(runner)
        if not hasattr(model, 'attach_filter'):
            raise InputError(
                f'CLIPFilterHook: {type(model).__name__} takes no filter: '
                "set model=dict(type='DSYMDetector', detector=...)"
            )
        if self.action == 'reweight':
            model.check_weights(True)
        check_clip(self.clip, self.pretrained)
        classes = runner.train_dataloader.dataset.metainfo['classes']
        self.make_prompts(classes, self.saved_settings())

    def saved_settings(self) -> dict:
        """Settings of an adapted model's folder."""
        file = Path(self.clip.removeprefix(LOCAL)) / SETTINGS
        return json.loads(file.read_text()) if file.is_file() else {}

    def make_prompts(self, classes: Sequence[str], saved: dict) -> Prompts:
        """The config's prompts, the folder's, or the paper's."""
        given = dict(self.prompts or saved.get('prompts') or {})
        trained_for = given.pop('classes', None)
        if trained_for is not None and list(trained_for) != list(classes):
            raise InputError(
                f'clip: {self.clip} was adapted to the classes '
                f'{", ".join(trained_for)}, but the data set has '
                f'{", ".join(classes)}: adapt one to them (configs/clip/)'
            )
        return Prompts(tuple(classes), **given)

    def before_train_epoch(self, runner: Runner) -> None:
        """Attach the filter when phase 2 begins.

        Args:
            runner (Runner): The runner.
        """
        loop = runner.train_loop
        if self.filter is None and loop.epoch >= burn_in(loop):
            self.filter = self.build(runner)
            unwrapped(runner).attach_filter(self.filter)

    def build(self, runner: Runner) -> PseudoLabelFilter:
        """Load the model and make the filter."""
        device = next(runner.model.parameters()).device
        labeled = datasets_of(runner.train_dataloader)
        classes = labeled[0].metainfo['classes']
        clip = load_clip(self.clip, self.pretrained)
        regions = self.regions or clip.settings.get('regions') or {}
        scorer = CLIPScorer(
            clip,
            self.make_prompts(classes, clip.settings),
            RegionSettings(**regions),
            self.mode,
            self.cache_dir,
            str(device),
        )
        unlabeled = [
            dataset.get_data_info(i)['img_path']
            for dataset in datasets_of(runner.train_loop.unlabeled)
            for i in range(len(dataset))
        ]
        samples = [x for data in labeled for x in labelled_samples(data)]
        paths = [path for path, *_ in samples]
        if is_main_process():
            scorer.warm([*unlabeled, *paths])
        barrier()
        state = self._state or self.calibrate(scorer, samples)
        state.setdefault('model', scorer.key)
        if state['model'] != scorer.key:
            runner.logger.warning(
                f'CLIPFilterHook: {self.clip} is not the model that the '
                'resumed run began with; its thresholds were chosen for that'
            )
        typical = None
        if self.typical:
            shapes = [shape for _, shape, _ in samples]
            parts = [
                scorer.image_embeddings(paths[i : i + 32], shapes[i : i + 32])
                for i in range(0, len(paths), 32)
            ]
            typical = torch.cat([x[:, 0] for x in parts])
        counts = state.pop('counts', [])
        self._state = state
        found = PseudoLabelFilter(
            scorer,
            torch.tensor(state['tau']),
            state['image_tau'],
            self.conf,
            self.decay,
            self.action,
            typical,
            state['typical_tau'],
        )
        found.counts.update({tuple(key): n for key, n in counts})
        return found

    def calibrate(self, scorer: CLIPScorer, samples: List[tuple]) -> dict:
        """Thresholds of the config, or else of the labelled images."""
        state: Dict[str, Any] = dict(tau=self.tau, image_tau=self.image_tau)
        if self.tau is None or self.image_tau is None or self.typical:
            found = calibrate(scorer, samples, self.precision, self.prior)
            state['typical_tau'] = found.typical_tau
            for key in ('tau', 'image_tau'):
                if state[key] is None:
                    state[key] = getattr(found, key)
        state.setdefault('typical_tau', -1.0)
        if not isinstance(state['tau'], (list, tuple)):
            state['tau'] = [state['tau']] * len(scorer.prompts.classes)
        if len(state['tau']) != len(scorer.prompts.classes):
            raise InputError(
                f'CLIPFilterHook: tau has {len(state["tau"])} thresholds for '
                f'{len(scorer.prompts.classes)} classes: give one each'
            )
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
        steps = getattr(loop, 'steps_before', None)
        first = steps(loop.burn_in_epochs) if steps else 0
        total = max(1, loop.max_iters - first)
        self.filter.move_thresholds((loop.iter - first) / total)

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
        counts = self.filter.take_counts()
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


def unwrapped(runner: Runner) -> torch.nn.Module:
    """The model inside a distributed wrapper."""
    model = runner.model
    return model.module if is_model_wrapper(model) else model


def burn_in(loop: Any) -> int:
    """Epochs of phase 1; other loops have none."""
    return getattr(loop, 'burn_in_epochs', 0)


def datasets_of(loader: DataLoader) -> list:
    """The data sets of a loader that may join several."""
    dataset = loader.dataset
    if isinstance(dataset, ConcatDataset):
        return list(dataset.datasets)
    return [dataset]


def total(counts: Dict[Any, float], what: str) -> float:
    """Sum counts of all classes."""
    return sum(n for key, n in counts.items() if key[0] == what)
