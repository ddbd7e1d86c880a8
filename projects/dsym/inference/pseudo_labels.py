"""Choose a detector's boxes as pseudo-labels of a folder."""

import json
import sys
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple

import numpy as np
import torch
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import TASK_UTILS, DefaultScope
from mmengine.structures import InstanceData
from torch import nn

from ..clip.adapted import load_scorer
from ..clip.calibration import calibrate, labelled_samples
from ..clip.pseudo_label_filter import PseudoLabelFilter
from ..clip.typical import TypicalImages
from ..datasets.real_images import labelled_images
from ..engine.mean_teacher_loop import boxes_per_image
from ..errors import InputError
from ..models.detectors.chosen_images import refuse_images
from ..models.task_modules.class_thresholds import ClassThresholds
from .sources import Frame
from .writers import Writer

PRECISION = 0.8  # what the thresholds of CLIP aim at, as in CLIPFilterHook
BATCH = 32
SELECTORS = (
    'ScoreThreshold',
    'TwoThresholds',
    'ClassThresholds',
    'MixtureThreshold',
)
# the setting that says of how many classes a selector is
CLASSES_KEYS = dict(
    ClassThresholds='boxes_per_image', MixtureThreshold='num_classes'
)
Image = Tuple[Dict[str, Any], InstanceData]


class Spool(Writer):
    """Detections of a folder on the disk, a line an image.

    Args:
        file (Path): The file.

    Attributes:
        refused (bytearray): Of each image 1 if :meth:`ask` refused it; empty
            before.
    """

    def __init__(self, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self.file = file
        self.images = 0
        self.refused = bytearray()
        self._stream = open(file, 'w', encoding='utf-8')

    def write(self, frame: Frame, boxes: InstanceData) -> None:
        """Keep an image's boxes."""
        self.images += 1
        entry = dict(
            name=frame.name,
            path=str(frame.path),
            shape=frame.image.shape[:2],
            bboxes=boxes.bboxes.tolist(),
            scores=boxes.scores.tolist(),
            labels=boxes.labels.tolist(),
        )
        if 'confidences' in boxes:
            entry['confidences'] = boxes.confidences.tolist()
        self._stream.write(json.dumps(entry) + '\n')

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def ask(self, judge: PseudoLabelFilter) -> None:
        """Let CLIP refuse whole images, before boxes are selected.

        Args:
            judge (PseudoLabelFilter): As of :func:`refuse_images`.
        """
        refused = bytearray()
        for part in self.batches():
            found = [boxes for _, boxes in part]
            left = refuse_images(judge, samples_of(part), found)
            refused += bytes(bool(x.get('refused')) for x in left)
        self.refused = refused

    def kept(self) -> Iterator[InstanceData]:
        """Boxes of the images that were not refused."""
        return (boxes for _, boxes in self if not boxes.get('refused'))

    def batches(self) -> Iterator[List[Image]]:
        """Read them again, some images together."""
        images = iter(self)
        while part := list(islice(images, BATCH)):
            yield part

    def __iter__(self) -> Iterator[Image]:
        """Read them again: ``name``, ``path``, ``shape``; and boxes.

        Once CLIP was asked, these have ``refused`` in their meta.
        """
        with open(self.file, encoding='utf-8') as lines:
            for i, line in enumerate(lines):
                entry = json.loads(line)
                boxes = InstanceData(
                    bboxes=torch.tensor(entry.pop('bboxes')).reshape(-1, 4),
                    scores=torch.tensor(entry.pop('scores')).reshape(-1),
                    labels=torch.tensor(entry.pop('labels')).long(),
                )
                if 'confidences' in entry:
                    boxes.confidences = torch.tensor(entry.pop('confidences'))
                if self.refused:
                    boxes.set_metainfo(dict(refused=bool(self.refused[i])))
                yield entry, boxes


def samples_of(part: Sequence[Image]) -> List[DetDataSample]:
    """What CLIP needs to know of images of a :class:`Spool`."""
    return [
        DetDataSample(metainfo=dict(img_path=x['path'], ori_shape=x['shape']))
        for x, _ in part
    ]


class FolderThresholds(ClassThresholds):
    """Thresholds of a folder that has been seen as a whole.

    While it is looked through, nothing is computed; then each threshold is,
    once.

    Attributes:
        complete (bool): Whether every image has been seen.
    """

    def __init__(self, *args, **kwargs) -> None:
        super().__init__(*args, **kwargs)
        self.complete = False
        self._found: Dict[Tuple[int, float], float] = {}

    def threshold(self, label: int, share: float = 1.0) -> float:
        """As in :class:`ClassThresholds`."""
        if not self.complete:
            return self.start
        key = label, share
        if key not in self._found:
            self._found[key] = super().threshold(label, share)
        return self._found[key]


def needs_labeled(settings: Dict[str, Any], clip: Optional[str]) -> str:
    """What needs labelled images.

    Args:
        settings (dict): Of a selector.
        clip (str, optional): Folder of CLIP.

    Returns:
        str: The option; empty if nothing does.
    """
    expected = settings.get('boxes_per_image')
    if settings.get('type') == 'ClassThresholds' and expected is None:
        return '--selector type=ClassThresholds'
    return '--clip' if clip else ''


def labeled_images(
    config: Config, why: str, classes: Sequence[str]
) -> BaseDataset:
    """The labelled images that a detector was trained on.

    Args:
        config (Config): With ``train_dataloader``.
        why (str): What needs them, for the error.
        classes (Sequence[str]): The detector's, in label order.

    Returns:
        BaseDataset: The data set, without synthetic images.

    Raises:
        InputError: If the config has none, or of other classes.
    """
    if 'train_dataloader' not in config:
        raise InputError(
            f'{why} needs labelled images, and {config.filename} has no '
            'train_dataloader: give the config of a training run by --labeled'
        )
    scope = config.get('default_scope', 'mmdet')
    with DefaultScope.overwrite_default_scope(scope):
        found = labelled_images(config)
    known = tuple(found.metainfo['classes'])
    if known != tuple(classes):
        raise InputError(
            f'{why}: the labelled images of {config.filename} have the '
            f'classes {known}, the detector {tuple(classes)}: give the config '
            'of its training by --labeled'
        )
    return found


def build_selector(
    settings: Dict[str, Any],
    spool: Spool,
    labeled: Optional[BaseDataset],
    num_classes: int,
) -> nn.Module:
    """Make a selector that knows the whole folder.

    Those whose thresholds follow the latest images get a window of all
    images, and see every image once before one is selected: the order of the
    images does not matter. Where the settings give a smaller ``window`` or
    ``interval``, thresholds follow the images. Of images that CLIP refused no
    boxes are expected, as in training.

    Args:
        settings (dict): Of ``ScoreThreshold``, ``TwoThresholds``,
            ``ClassThresholds`` or ``MixtureThreshold``.
        spool (Spool): The detections.
        labeled (BaseDataset, optional): It tells ``ClassThresholds`` how many
            boxes to expect.
        num_classes (int): Number of classes.

    Returns:
        nn.Module: The selector.

    Raises:
        InputError: If there is no such selector, it refuses a setting or is
            for other classes.
    """
    build = dict(settings)
    kind = build.get('type')
    remedy = f'give type={", ".join(SELECTORS[:-1])} or {SELECTORS[-1]}'
    if kind not in SELECTORS:
        raise InputError(f'--selector type={kind}: {remedy}')
    images = max(1, spool.images - sum(spool.refused))
    whole = False
    try:
        if kind == 'ClassThresholds':
            whole = build.get('window', images) >= images
        if whole:
            build.update(type=FolderThresholds, window=images)
        if kind == 'MixtureThreshold':
            most = Counter(x for y in spool.kept() for x in y.labels.tolist())
            build.setdefault('num_classes', num_classes)
            build.setdefault('capacity', max([1, *most.values()]))
            whole = build.get('interval', images) >= images
            if whole:
                build['interval'] = images
        selector = TASK_UTILS.build(build)
    except TypeError as error:
        raise InputError(
            f'--selector {settings}: {error.args[0]}; {remedy}'
        ) from None
    if getattr(selector, 'num_classes', None) not in (None, num_classes):
        key = CLASSES_KEYS[kind]
        raise InputError(
            f'--selector {key}={build[key]}: the detector has {num_classes} '
            f'classes: leave {key} out, or give it for as many'
        )
    if kind == 'ClassThresholds' and labeled is not None:
        selector.set_labeled(boxes_per_image(labeled))
    for boxes in spool.kept():
        selector(boxes)
    if whole and kind == 'MixtureThreshold':
        # one more fit would be at the last image, for that image alone
        selector.interval = sys.maxsize
    elif whole:
        selector.complete = True
    return selector


def build_clip_filter(
    folder: str, labeled: BaseDataset, classes: Sequence[str]
) -> PseudoLabelFilter:
    """Make CLIP's filter with thresholds from the labelled images.

    Args:
        folder (str): Of an adapted CLIP, or a name of open_clip.
        labeled (BaseDataset): The labelled images.
        classes (Sequence[str]): Names in label order.

    Returns:
        PseudoLabelFilter: Drops boxes and images, as ``CLIPFilterHook``.
    """
    samples = labelled_samples(labeled)
    scorer = load_scorer(folder, classes)
    found = calibrate(scorer, samples, PRECISION)
    return PseudoLabelFilter(
        scorer,
        torch.tensor(found.tau),
        found.image_tau,
        typical=TypicalImages.of(scorer, samples),
        typical_tau=found.typical_tau,
    )


class Selection:
    """Pseudo-labels of a folder, an image after the other, and their counts.

    Args:
        spool (Spool): The detections.
        selector (nn.Module): Of :func:`build_selector`.
        classes (Sequence[str]): Names in label order.
        judge (PseudoLabelFilter, optional): CLIP's. Defaults to None.

    Attributes:
        counts (dict[str, np.ndarray]): Boxes of each class after every stage.
        images (Counter): Images in all, refused by CLIP, and without a label.
    """

    def __init__(
        self,
        spool: Spool,
        selector: nn.Module,
        classes: Sequence[str],
        judge: Optional[PseudoLabelFilter] = None,
    ) -> None:
        self.spool = spool
        self.selector = selector
        self.classes = classes
        self.judge = judge
        stages = ['predicted', 'selected'] + ['filtered'] * bool(judge)
        self.counts = {x: np.zeros(len(classes), int) for x in stages}
        self.images: Counter = Counter(total=0, refused=0, empty=0)

    def __iter__(self) -> Iterator[Tuple[Frame, InstanceData]]:
        """Give every image, also those without a label, and its labels."""
        for part in self.spool.batches():
            found = [self._selected(boxes) for _, boxes in part]
            if self.judge is not None:
                found = self.judge(samples_of(part), found)
            for (entry, _), boxes in zip(part, found):
                self.images['total'] += 1
                self.images['refused'] += bool(boxes.get('refused'))
                self.images['empty'] += not len(boxes)
                if self.judge is not None:
                    self._count('filtered', boxes)
                # a view of no memory: writers ask for the shape alone
                pixels = np.broadcast_to(np.uint8(0), (*entry['shape'], 3))
                frame = Frame(entry['name'], pixels, path=Path(entry['path']))
                yield frame, boxes

    def _selected(self, boxes: InstanceData) -> InstanceData:
        self._count('predicted', boxes)
        refused = boxes.get('refused')
        boxes = boxes[:0] if refused else self.selector(boxes)
        self._count('selected', boxes)
        return boxes

    def _count(self, stage: str, boxes: InstanceData) -> None:
        self.counts[stage] += np.bincount(
            boxes.labels.numpy(), minlength=len(self.classes)
        )

    def summary(self) -> Dict[str, Any]:
        """Counts, as JSON keeps them."""
        return dict(
            images=dict(self.images),
            boxes={
                stage: dict(zip(self.classes, numbers.tolist()))
                for stage, numbers in self.counts.items()
            },
        )


def marks(boxes: InstanceData) -> List[Dict[str, Any]]:
    """What a label file says about each box beside class, place and score.

    Args:
        boxes (InstanceData): Pseudo-labels.

    Returns:
        list[dict]: ``pseudo`` 1 and, where there are, ``weight`` and
        ``clip_score``.
    """
    names = dict(weights='weight', clip_scores='clip_score')
    found = {
        new: boxes[old].tolist() for old, new in names.items() if old in boxes
    }
    return [
        {'pseudo': 1, **{k: round(v[i], 4) for k, v in found.items()}}
        for i in range(len(boxes))
    ]
