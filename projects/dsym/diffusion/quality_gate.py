import tempfile
from typing import Dict, List, NamedTuple, Optional, Sequence, Union

import numpy as np
import torch
from mmengine.dataset import BaseDataset
from mmengine.registry import MODELS

from ..clip import load_scorer
from ..errors import InputError
from .judges import (
    CopyJudge,
    DetectorJudge,
    best_match,
    rivals,
    shows_defect,
)

REASONS = ('blank', 'copy', 'detector', 'clip', 'class', 'remains')


class Candidate(NamedTuple):
    """A synthetic image to be judged.

    Attributes:
        path (str): Its file.
        image (np.ndarray): ``(H, W, C)``, uint8.
        background (np.ndarray): ``(H, W, C)``, uint8, without what was
            painted.
        boxes (np.ndarray): ``(N, 4)``, corners in px, of what was painted.
        labels (np.ndarray): ``(N,)``.
        erased (np.ndarray): ``(M, 4)``, true boxes of what was painted
            out. Defaults to none.
        decoys (np.ndarray): ``(D, 4)``, what was painted without a defect.
            Defaults to none.
    """

    path: str
    image: np.ndarray
    background: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    erased: np.ndarray = np.zeros((0, 4), np.float32)
    decoys: np.ndarray = np.zeros((0, 4), np.float32)


class Verdict(NamedTuple):
    """What is said about one painted defect or decoy.

    Attributes:
        reason (str): Why it is refused, one of :data:`REASONS`; '' if kept.
        change (float): Mean difference to the background, in grey values.
        correlation (float): With the most similar labelled defect.
        iou (float): Of the detector's best box of the class; -1 unasked.
        score (float): Of that box; -1 unasked.
        clip (float): CLIP's score of the class; -1 unasked.
    """

    reason: str
    change: float
    correlation: float
    iou: float = -1.0
    score: float = -1.0
    clip: float = -1.0


@MODELS.register_module()
class QualityGate:
    """Refuses synthetic defects that do not show what their label says.

    A defect is kept if something was painted, it is no copy of a labelled
    one, a detector finds its class where it is, CLIP sees its class in it,
    and neither is surer of another class there. An image in which the detector
    still finds a defect that was painted out is refused as a whole: it would
    be without a label. So is a decoy in which it finds one. Detector and CLIP
    are to be trained on the same labelled images.

    Args:
        classes (Sequence[str]): Of the data set.
        dataset (BaseDataset): The labelled images.
        detector (dict, optional): ``config`` and ``checkpoint``. Defaults to
            None, not asked.
        clip (str or dict, optional): As ``clip`` of ``load_scorer``, or its
            arguments. Defaults to None, not asked.
        min_change (float): Least mean difference to the background in grey
            values. Defaults to 3.
        max_correlation (float): With a labelled defect, at 32 x 32 px.
            Defaults to 0.9.
        min_iou (float): Of the detector's box. Defaults to 0.5.
        min_score (float): Of the detector's box. Defaults to 0.2.
        min_clip (float): CLIP's score of the class. Defaults to 0.2.
        min_remains (float): Score of a detection that is a defect left over.
            Defaults to 0.3.
        device (str): Defaults to the CPU.
    """

    def __init__(
        self,
        classes: Sequence[str],
        dataset: BaseDataset,
        detector: Optional[Dict[str, str]] = None,
        clip: Optional[Union[str, dict]] = None,
        min_change: float = 3.0,
        max_correlation: float = 0.9,
        min_iou: float = 0.5,
        min_score: float = 0.2,
        min_clip: float = 0.2,
        min_remains: float = 0.3,
        device: str = 'cpu',
    ) -> None:
        self.min_change = min_change
        self.max_correlation = max_correlation
        self.min_iou = min_iou
        self.min_score = min_score
        self.min_clip = min_clip
        self.min_remains = min_remains
        self.copies = CopyJudge(dataset)
        self.detector = self.scorer = None
        if detector is not None:
            self.detector = DetectorJudge(
                **detector, classes=classes, device=device
            )
        if clip is not None:
            options = dict(clip=clip) if isinstance(clip, str) else dict(clip)
            # features of candidates are of no use to anybody later
            self._features = tempfile.TemporaryDirectory()
            self.scorer = load_scorer(
                **options,
                classes=classes,
                cache_dir=self._features.name,
                device=device,
            )

    def __call__(self, candidates: Sequence[Candidate]) -> List[List[Verdict]]:
        """Judge images.

        Args:
            candidates (Sequence[Candidate]): The images.

        Returns:
            list[list[Verdict]]: Of each image, one a box, and one a decoy.
        """
        if not candidates:
            return []
        paths = [x.path for x in candidates]
        boxes = [x.boxes for x in candidates]
        labels = [x.labels for x in candidates]
        counts = [len(x) for x in boxes]
        detected = [np.full((n, 2), -1.0) for n in counts]
        graded = [np.full(n, -1.0) for n in counts]
        left = [False] * len(candidates)
        decoys = [np.zeros(len(x.decoys), bool) for x in candidates]
        others = [np.zeros(n, bool) for n in counts]
        if self.detector is not None:
            found = self.detector(paths)
            detected = [
                best_match(x, *mine, self.min_iou, self.min_score)
                for x, *mine in zip(found, boxes, labels)
            ]
            others = [
                rivals(x, *mine) > matches[:, 1]
                for x, *mine, matches in zip(found, boxes, labels, detected)
            ]
            left, decoys = (
                [
                    shows_defect(x, *mine, self.min_remains)
                    for x, *mine in zip(found, places, boxes)
                ]
                for places in zip(*((x.erased, x.decoys) for x in candidates))
            )
        if self.scorer is not None:
            grades = self._grade(candidates)
            graded = [
                x[np.arange(len(mine)), mine]
                for x, mine in zip(grades, labels)
            ]
            others = [
                x | (grade.max(1, initial=-1.0) > own)
                for x, grade, own in zip(others, grades, graded)
            ]
        verdicts = []
        for i, x in enumerate(candidates):
            alike = self.copies(x.image, x.boxes, x.labels)
            rows = [
                self._verdict(
                    change(x.image, x.background, box),
                    float(alike[j]),
                    *map(float, detected[i][j]),
                    float(graded[i][j]),
                    bool(others[i][j]),
                    bool(np.any(left[i])),
                )
                for j, box in enumerate(x.boxes)
            ]
            rows += [
                Verdict(
                    'remains' if refused else '',
                    change(x.image, x.background, box),
                    0.0,
                )
                for box, refused in zip(x.decoys, decoys[i])
            ]
            verdicts.append(rows)
        return verdicts

    def _verdict(
        self,
        changed: float,
        correlation: float,
        iou: float,
        score: float,
        clip: float,
        other: bool,
        refused: bool,
    ) -> Verdict:
        reason = ''
        if changed < self.min_change:
            reason = 'blank'
        elif correlation > self.max_correlation:
            reason = 'copy'
        elif self.detector is not None and (
            iou < self.min_iou or score < self.min_score
        ):
            reason = 'detector'
        elif self.scorer is not None and clip < self.min_clip:
            reason = 'clip'
        elif other:
            reason = 'class'
        elif refused:
            reason = 'remains'
        return Verdict(reason, changed, correlation, iou, score, clip)

    def _grade(self, candidates: Sequence[Candidate]) -> List[np.ndarray]:
        """CLIP's scores of the boxes, ``(N, C)`` of each image."""
        found = self.scorer.region_scores(
            [x.path for x in candidates],
            [torch.from_numpy(x.boxes) for x in candidates],
            [x.image.shape[:2] for x in candidates],
        )
        return [x.cpu().numpy() for x in found]


def change(
    image: np.ndarray, background: np.ndarray, box: Sequence[float]
) -> float:
    """Mean absolute difference of two images in a box, in grey values."""
    x1, y1, x2, y2 = (max(round(float(x)), 0) for x in box)
    part = np.s_[y1 : max(y2, y1 + 1), x1 : max(x2, x1 + 1)]
    difference = image[part].astype(float) - background[part]
    return float(np.abs(difference).mean()) if difference.size else 0.0


def build_gate(
    gate: Optional[dict], classes: Sequence[str], dataset: BaseDataset
) -> Optional[QualityGate]:
    """Build a gate from its settings.

    Args:
        gate (dict, optional): Of :class:`QualityGate`; None is no gate.
        classes (Sequence[str]): Of the data set.
        dataset (BaseDataset): The labelled images.

    Returns:
        QualityGate, optional: The gate.

    Raises:
        InputError: For settings it does not know.
    """
    if gate is None:
        return None
    options = {'type': 'QualityGate', **gate}
    try:
        return MODELS.build(dict(options, classes=classes, dataset=dataset))
    except (TypeError, KeyError) as error:
        raise InputError(f'gate: {error}') from error
