import math
from collections import Counter
from typing import Dict, List, Optional, Sequence

import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from torch import Tensor

from ..errors import InputError
from .scorer import CLIPScorer
from .typical import TypicalImages

REMEMBERED = 100_000  # images whose scores are kept in memory
CONFIDENT = 0.3  # least score of a teacher's box that may hold a defect
ACTIONS = ('drop', 'reweight', 'relabel', 'rescore')


class PseudoLabelFilter:
    """Keep the pseudo-labels that CLIP agrees with (eqs 18 to 20).

    A box is kept if ``s > tau_t`` and ``C_teacher > tau_conf``, an image if
    its own score is above ``tau_t`` of images; ``tau_t = tau_0 exp(-t / T
    lambda)`` (eq 19). ``s`` is the score of the box's class; one below 0, of
    a cosine, counts as 0, so that a threshold only ever falls.

    Args:
        scorer (CLIPScorer): Its scores are at most 1.
        tau (Tensor): ``(C,)``, tau_0 of the boxes of each class; 0 or less
            keeps all.
        image_tau (float): tau_0 of images; 0 or less keeps all.
        conf (float): tau_conf.
        decay (float): lambda; 0 leaves the thresholds where they are.
        action (str): What becomes of a box below its threshold: ``'drop'``;
            ``'reweight'``, it counts ``s / tau_t``; ``'relabel'``, it gets
            the class with the highest score if that is above the threshold,
            otherwise it is dropped. ``'rescore'``, without thresholds:
            a box's score becomes ``C_teacher^(1 - w) s^w``; to be attached
            before the selection.
        weight (float): w of ``'rescore'``. Defaults to 0.3.
        typical (TypicalImages, optional): Of labelled images: one that is
            further from all of them than nearly all of them from each other
            shows something else. Defaults to None, not asked.
        typical_tau (float): Least likeness to the nearest.

    Attributes:
        counts (Counter): Images and boxes seen and kept since the last
            :meth:`take_counts`.

    Raises:
        InputError: For another action.
    """

    def __init__(
        self,
        scorer: CLIPScorer,
        tau: Tensor,
        image_tau: float = 0.0,
        conf: float = 0.0,
        decay: float = 0.0,
        action: str = 'drop',
        weight: float = 0.3,
        typical: Optional[TypicalImages] = None,
        typical_tau: float = float('-inf'),
    ) -> None:
        if action not in ACTIONS:
            raise InputError(
                f'clip action {action!r}: give one of {", ".join(ACTIONS)}'
            )
        self.scorer = scorer
        self.tau = tau.clamp(min=0)
        self.image_tau = image_tau
        self.conf = conf
        self.decay = decay
        self.action = action
        self.weight = weight
        self.typical = typical
        self.typical_tau = typical_tau
        self.factor = 1.0
        self.counts: Counter = Counter()
        self._images: Dict[str, tuple] = {}

    def move_thresholds(self, progress: float) -> None:
        """Set tau_t.

        Args:
            progress (float): ``t / T``.
        """
        self.factor = math.exp(-progress * self.decay)

    def keep_images(self, samples: Sequence[DetDataSample]) -> List[bool]:
        """Tell which images show a defect of the kind that was labelled.

        A detector may ask before it selects boxes, for a selector that counts
        images.

        Args:
            samples (Sequence[DetDataSample]): With ``img_path`` and
                ``ori_shape``.

        Returns:
            list[bool]: One an image.
        """
        if self.image_tau <= 0 and self.typical is None:
            return [True] * len(samples)
        if len(self._images) > REMEMBERED:
            self._images.clear()
        new = [x for x in samples if x.img_path not in self._images]
        if new:
            paths = [x.img_path for x in new]
            shapes = [x.ori_shape for x in new]
            with self.exact():
                embedded = self.scorer.image_embeddings(paths, shapes)
                scores = self.scorer.grade_images(embedded)
                nearest = torch.zeros_like(scores)
                if self.typical is not None:
                    nearest = self.typical(self.scorer.describe(paths))
            for path, *values in zip(paths, scores, nearest):
                self._images[path] = tuple(map(float, values))
        kept = []
        for sample in samples:
            score, near = self._images[sample.img_path]
            high = self.image_tau <= 0 or score > self.image_tau * self.factor
            kept.append(high and near >= self.typical_tau)
        return kept

    def __call__(
        self,
        samples: Sequence[DetDataSample],
        labels: List[InstanceData],
    ) -> List[InstanceData]:
        """Judge the boxes of a batch.

        Args:
            samples (Sequence[DetDataSample]): The teacher's.
            labels (list[InstanceData]): As ``DSYMDetector.attach_filter``
                says. Where they have ``refused`` in their meta, images are
                not asked about again.

        Returns:
            list[InstanceData]: What is left. Images that were refused have
            ``refused`` in their meta.
        """
        with self.exact():
            return self._judge_batch(samples, labels)

    def exact(self) -> torch.autocast:
        """No autocast: bfloat16 cannot tell cosines at a threshold apart."""
        return torch.autocast(self.scorer.texts.device.type, enabled=False)

    def _judge_batch(
        self, samples: Sequence[DetDataSample], labels: List[InstanceData]
    ) -> List[InstanceData]:
        kept = [not x.refused for x in labels if 'refused' in x]
        if len(kept) < len(labels):
            kept = self.keep_images(samples)
        self.counts['images', None] += len(kept)
        self.counts['images_kept', None] += sum(kept)
        asked = [boxes if k else boxes[:0] for boxes, k in zip(labels, kept)]
        sure = asked
        if self.action == 'rescore':  # nothing was selected yet
            sure = [x[x.scores >= CONFIDENT] for x in asked]
        scores = self.scorer.region_scores(
            [x.img_path for x in samples],
            [x.bboxes for x in asked],
            [x.ori_shape for x in samples],
            occupied=[x.bboxes for x in sure],
        )
        judged = []
        for boxes, all_boxes, k, score in zip(asked, labels, kept, scores):
            for label in all_boxes.labels.tolist():
                self.counts['boxes', label] += 1
            boxes = self.judge(boxes, score.to(boxes.bboxes.device))
            boxes.set_metainfo(dict(refused=not k))
            judged.append(boxes)
        return judged

    def judge(self, boxes: InstanceData, scores: Tensor) -> InstanceData:
        """Apply eq 20 and the action to an image's boxes.

        Args:
            boxes (InstanceData): Of the teacher.
            scores (Tensor): ``(N, C)``.

        Returns:
            InstanceData: With ``clip_scores``.
        """
        sure = boxes.scores > self.conf
        boxes, scores = boxes[sure], scores[sure].clamp(min=0)
        own = of_class(scores, boxes.labels)
        tau = self.tau.to(own.device) * self.factor
        before = boxes.labels
        free = tau[before] == 0
        if self.action == 'relabel':
            doubtful = ~free & (own <= tau[before])
            best = scores.argmax(1)
            boxes.labels = torch.where(doubtful, best, boxes.labels)
            own = of_class(scores, boxes.labels)
        boxes.clip_scores = own
        tau = tau[boxes.labels]
        for label, score in zip(boxes.labels.tolist(), own.tolist()):
            self.counts['score', label] += score
            self.counts['scored', label] += 1
        if self.action == 'rescore':
            boxes.scores = boxes.scores ** (1 - self.weight) * own**self.weight
            self.count_kept(before, torch.ones_like(own))
            return boxes
        if self.action == 'reweight':
            shares = (own / tau.clamp(min=1e-6)).clamp(0, 1)
            shares = torch.where(free, 1.0, shares)
            boxes.weights = shares * boxes.get('weights', 1.0)
            self.count_kept(before, shares)
            return boxes
        passed = free | (own > tau)
        self.count_kept(before, passed.float())
        return boxes[passed]

    def count_kept(self, labels: Tensor, shares: Tensor) -> None:
        """Count what is left of the teacher's boxes of each class."""
        for label, share in zip(labels.tolist(), shares.tolist()):
            self.counts['boxes_kept', label] += share

    def take_counts(self) -> Counter:
        """The counts so far; they begin anew."""
        counts, self.counts = self.counts, Counter()
        return counts


def of_class(scores: Tensor, labels: Tensor) -> Tensor:
    """The score ``(N,)`` of each box's own class from ``(N, C)``."""
    return scores.gather(1, labels[:, None])[:, 0]
