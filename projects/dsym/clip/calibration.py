from dataclasses import asdict, dataclass
from typing import Dict, List, Sequence

import numpy as np
import torch
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log
from mmengine.structures import InstanceData
from torch import Tensor

from ..errors import InputError
from ..evaluation.region_grade_metric import RIGHT_IOU, auroc
from .region_targets import RegionSampler
from .scorer import CLIPScorer
from .typical import TypicalImages

KINDS = ('right', 'misplaced', 'other class', 'background')
# Of a teacher's wrong boxes, in the order of KINDS. The supervised detector's
# on NEU-DET's unlabelled images, by their hidden truth and without second
# boxes of a defect, are 0.716, 0.003 and 0.280
# (configs/clip/results/boxes_unlabeled80.json); background is an IoU below
# 0.1 there, and 0 of the regions here. The 0.02 of other
# classes is a guess: detectors that mix up classes make more of them.
WRONG_SHARES = (0.7, 0.02, 0.28)
WEAK = 0.7  # an AUROC below says little
BATCH = 16  # images
REFUSED = 0.025  # of the labelled images, by score and by likeness


@dataclass
class Calibration:
    """What scores of regions of known kind say about thresholds.

    Attributes:
        scores (list[dict[str, list[float]]]): Of each class, scores by kind
            of :data:`KINDS`.
        tau (list[float]): Of each class; 0 where no threshold is better than
            none.
        precision (list[float]): Of the regions above it.
        recall (list[float]): Share of the right regions above it.
        auroc (list[float]): Of right regions against wrong ones, as often of
            each kind as ``wrong_shares`` says.
        auroc_by_kind (list[dict[str, float]]): Of each class, of right
            regions against each other kind.
        image_tau (float): Below the scores of 97.5% of the labelled images.
        typical_tau (float): Below the likeness of 97.5% of the labelled images
            to their nearest other one, see :class:`TypicalImages`.
    """

    scores: List[Dict[str, List[float]]]
    tau: List[float]
    precision: List[float]
    recall: List[float]
    auroc: List[float]
    auroc_by_kind: List[Dict[str, float]]
    image_tau: float = 0.0
    typical_tau: float = float('-inf')

    def to_dict(self) -> dict:
        """As JSON keeps it."""
        return asdict(self)


def labelled_samples(dataset: BaseDataset) -> List[tuple]:
    """Path, shape and true boxes of every image of a data set.

    Args:
        dataset (BaseDataset): Of labelled images.

    Returns:
        list[tuple]: ``img_path``, ``(height, width)`` and
        :class:`InstanceData` of boxes that are not ignored.
    """
    samples = []
    for i in range(len(dataset)):
        info = dataset.get_data_info(i)
        real = [x for x in info['instances'] if not x.get('ignore_flag', 0)]
        truth = InstanceData(
            bboxes=torch.tensor([x['bbox'] for x in real]).reshape(-1, 4),
            labels=torch.tensor([x['bbox_label'] for x in real]).long(),
        )
        shape = (info['height'], info['width'])
        samples.append((info['img_path'], shape, truth))
    return samples


def calibrate(
    scorer: CLIPScorer,
    samples: Sequence[tuple],
    precision: float,
    prior: float = 0.6,
    seed: int = 0,
    wrong_shares: Sequence[float] = WRONG_SHARES,
) -> Calibration:
    """Choose thresholds on labelled images.

    Regions are drawn as :class:`RegionSampler` does; every right one is also
    asked for the other classes. A class's threshold is the lowest above which
    the wanted share of regions is right, if teachers are right in ``prior``
    of their boxes and wrong ones are of the other kinds by ``wrong_shares``.
    Both are guesses for another detector or data set.

    Args:
        scorer (CLIPScorer): The scorer.
        samples (Sequence[tuple]): Of :func:`labelled_samples`.
        precision (float): Wanted, 0 to 1.
        prior (float): Precision of the teacher's boxes before. Defaults to
            0.6.
        seed (int): Of the drawing. Defaults to 0.
        wrong_shares (Sequence[float]): Of misplaced boxes, those of another
            class and background. Defaults to :data:`WRONG_SHARES`.

    Returns:
        Calibration: One entry a class.

    Raises:
        InputError: For shares that are none.
    """
    check_shares(wrong_shares)
    classes = len(scorer.prompts.classes)
    sampler = RegionSampler(per_box=3)
    generator = torch.Generator().manual_seed(seed)
    scores: List[Dict[str, List[Tensor]]] = [
        {kind: [] for kind in KINDS} for _ in range(classes)
    ]
    scorer.warm([path for path, *_ in samples])
    image_scores = []
    for start in range(0, len(samples), BATCH):
        paths, shapes, truths = zip(*samples[start : start + BATCH])
        drawn = [
            sampler(truth, *shape, generator)
            for truth, shape in zip(truths, shapes)
        ]
        found = scorer.region_scores(
            paths,
            [x.boxes for x in drawn],
            shapes,
            occupied=[x.bboxes for x in truths],
        )
        for regions, grades in zip(drawn, found):
            sort_scores(scores, regions, grades.cpu())
        image_scores.append(scorer.image_scores(paths, shapes))
    arrays = [
        {kind: torch.cat([*x, torch.zeros(0)]) for kind, x in by_kind.items()}
        for by_kind in scores
    ]
    chosen = [choose(x, precision, prior, wrong_shares) for x in arrays]
    typical = TypicalImages.of(scorer, samples)
    calibration = Calibration(
        [{k: x.tolist() for k, x in by_kind.items()} for by_kind in arrays],
        *map(list, zip(*chosen)),
        [kind_aurocs(x) for x in arrays],
        image_tau=torch.cat(image_scores).quantile(REFUSED).item(),
        typical_tau=typical.least_own(REFUSED),
    )
    report(calibration, scorer.prompts.classes, precision)
    return calibration


def sort_scores(scores: list, regions: tuple, grades: Tensor) -> None:
    """Add an image's scores ``(N, C)`` by class and kind."""
    rows = torch.arange(len(grades))
    own = grades[rows, regions.labels]
    right = regions.ious >= RIGHT_IOU
    free = regions.ious == 0
    for label in range(len(scores)):
        mine = regions.labels == label
        by_kind = scores[label]
        by_kind['right'].append(own[mine & right])
        by_kind['misplaced'].append(own[mine & ~right & ~free])
        by_kind['other class'].append(grades[right & ~mine, label])
        by_kind['background'].append(grades[free, label])


def check_shares(shares: Sequence[float]) -> None:
    """Raise :class:`InputError` unless wrong boxes can be split so."""
    wrong = KINDS[1:]
    if len(shares) != len(wrong) or min(shares) < 0 or not sum(shares):
        raise InputError(
            f'clip wrong_shares={shares}: give a share of 0 or more for each '
            f'of {", ".join(wrong)}'
        )


def choose(
    by_kind: Dict[str, Tensor],
    precision: float,
    prior: float,
    wrong_shares: Sequence[float] = WRONG_SHARES,
) -> tuple:
    """Choose a class's threshold.

    Args:
        by_kind (dict[str, Tensor]): Scores by kind; those below 0 count as
            0, as :class:`PseudoLabelFilter` takes them.
        precision (float): Wanted.
        prior (float): Share of right ones.
        wrong_shares (Sequence[float]): As in :func:`calibrate`; that of a
            kind without scores goes to the others.

    Returns:
        tuple[float]: Threshold, precision and recall above it; AUROC against
            the mixture of wrong ones, which is the mean of those against its
            parts by their shares.
    """
    right = by_kind['right'].double().clamp(min=0)
    shares = dict(zip(KINDS[1:], wrong_shares))
    wrong = {
        kind: by_kind[kind].double().clamp(min=0)
        for kind, share in shares.items()
        if share and len(by_kind[kind])
    }
    if not len(right) or not wrong:
        return 0.0, float('nan'), float('nan'), float('nan')
    whole = sum(shares[kind] for kind in wrong)
    areas = kind_aurocs(by_kind)
    area = sum(shares[kind] * areas[kind] for kind in wrong) / whole
    each = (1 - prior) / whole
    weights = torch.cat(
        [right.new_full((len(right),), prior / len(right))]
        + [
            x.new_full((len(x),), each * shares[kind] / len(x))
            for kind, x in wrong.items()
        ]
    )
    values = torch.cat([right, *wrong.values()])
    is_right = torch.arange(len(values)) < len(right)
    order = values.argsort(descending=True)
    kept = weights[order].cumsum(0)
    good = (weights * is_right)[order].cumsum(0)
    precisions = good / kept
    enough = (precisions >= precision).nonzero()[:, 0]
    # a threshold stands between two scores that differ
    values = values[order]
    last = torch.cat([values[1:] < values[:-1], torch.ones(1).bool()])
    enough = [i for i in enough.tolist() if last[i]]
    if not enough:
        return 0.0, prior, 1.0, area
    i = enough[-1]
    below = values[i + 1] if i + 1 < len(values) else 0.0
    tau = float((values[i] + below) / 2)
    return tau, float(precisions[i]), float(good[i] / prior), area


def kind_aurocs(by_kind: Dict[str, Tensor]) -> Dict[str, float]:
    """AUROC of right regions against each other kind.

    Args:
        by_kind (dict[str, Tensor]): As in :func:`choose`.

    Returns:
        dict[str, float]: Without kinds that have no scores; empty if the
        right ones have none.
    """
    right = by_kind['right'].clamp(min=0).numpy()
    areas = {}
    for kind in KINDS[1:]:
        wrong = by_kind[kind].clamp(min=0).numpy()
        if len(right) and len(wrong):
            is_right = np.arange(len(right) + len(wrong)) < len(right)
            areas[kind] = auroc(np.concatenate([right, wrong]), is_right)
    return areas


def report(
    calibration: Calibration, classes: Sequence[str], precision: float
) -> None:
    """Log the thresholds, and plainly where CLIP cannot tell."""
    lines = [
        f'CLIP calibrated on labelled images for {precision:.0%} precision:'
    ]
    for i, name in enumerate(classes):
        lines.append(
            f'  {name}: AUROC {calibration.auroc[i]:.3f}, tau '
            f'{calibration.tau[i]:.3f}, precision '
            f'{calibration.precision[i]:.1%} at {calibration.recall[i]:.1%} '
            'of the right ones'
        )
    print_log('\n'.join(lines), 'current')
    weak = [
        name for x, name in zip(calibration.auroc, classes) if not x >= WEAK
    ]
    if weak:
        print_log(
            'CLIP can hardly tell right boxes from wrong ones of '
            f'{", ".join(weak)} (AUROC below {WEAK}): adapt it '
            '(configs/clip/), or leave the filter out',
            'current',
            30,
        )
    free = [
        name
        for i, name in enumerate(classes)
        if not np.isnan(calibration.auroc[i]) and calibration.tau[i] == 0
    ]
    if free:
        print_log(
            f'no threshold reaches {precision:.0%} precision for '
            f'{", ".join(free)}: their boxes are not filtered',
            'current',
            30,
        )
