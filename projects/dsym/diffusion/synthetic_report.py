import json
from collections import Counter
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple

import numpy as np
import torch
from matplotlib.figure import Figure

from ..clip.scorer import CLIPScorer
from ..evaluation.kernel_distance import kernel_distance_spread
from ..visualization.synthetic_gallery import (
    Tile,
    cut_tile,
    synthetic_gallery,
)
from .examples import read_image
from .quality_gate import REASONS
from .synthetic_settings import LabelledSet
from .tally import read_seconds
from .windows import real_instances

SHOWN = 5  # defects of a class and a block
LEAST = 8  # boxes of a class for a distance

Box = Tuple[str, Sequence[float], int, str]  # image, corners, label, title


class SyntheticReport:
    """What a set of synthetic images looks like beside the real ones.

    Args:
        ann_file (Path): Of the set, as ``ensure_synthetic`` returns.
        labelled (LabelledSet): Real images.
    """

    def __init__(self, ann_file: Path, labelled: LabelledSet) -> None:
        self.folder = ann_file.parent
        self.classes = labelled.metainfo['classes']
        self.coco = json.loads(ann_file.read_text())
        last = max(x['number'] for x in self.coco['images'])
        self.records = [
            record
            for path in sorted((self.folder / 'chunks').glob('*.json'))
            for record in json.loads(path.read_text())
            if record['number'] <= last
        ]
        self.real: List[Box] = [
            (info['img_path'], x['bbox'], x['bbox_label'], '')
            for info in labelled.infos
            for x in real_instances(info)
        ]
        self.kept: List[Box] = []
        self.refused: List[Box] = []
        for record in self.records:
            verdicts = record['verdicts'] or [{}] * len(record['boxes'])
            name = f'{record["number"]:06d}.png'
            for i, verdict in enumerate(verdicts):
                box = record['boxes'][i], record['labels'][i]
                reason = verdict.get('reason', '')
                if reason:
                    path = str(self.folder / 'refused' / name)
                    self.refused.append((path, *box, reason))
                else:
                    path = str(self.folder / 'images' / name)
                    self.kept.append((path, *box, ''))

    def counts(self) -> Dict[str, Dict[str, int]]:
        """Numbers of defects by class: kept, and refused for each reason."""
        table = {
            name: dict.fromkeys(('kept', *REASONS), 0) for name in self.classes
        }
        for boxes, kept in ((self.kept, True), (self.refused, False)):
            for _, _, label, reason in boxes:
                table[self.classes[label]]['kept' if kept else reason] += 1
        return table

    def summary(self, scorer: Optional[CLIPScorer] = None) -> dict:
        """Figures of the set.

        Args:
            scorer (CLIPScorer, optional): Whose features distances are
                measured on. Defaults to None, no distances.

        Returns:
            dict: ``images``, ``with_painted`` (those that show a painted
            defect; the others are real ones, where all that was to replace
            something was refused), ``painted``, ``seconds`` (of each call that
            painted into the folder, with its number of images), ``defects``,
            ``reasons``, ``found`` (share of all painted defects of a class
            that the gate's detector finds with an IoU of 0.5) and, with a
            scorer, ``kernel_distance`` of kept and of refused ones to the
            real ones and of those in one half of the real images to those
            in the other, mean and standard deviation, of all and by class.
        """
        reasons: Counter = Counter()
        found = {name: [] for name in self.classes}
        for record in self.records:
            for label, verdict in zip(record['labels'], record['verdicts']):
                if verdict['iou'] >= 0:
                    found[self.classes[label]].append(verdict['iou'] >= 0.5)
        for row in self.counts().values():
            reasons.update(row)
        summary = dict(
            images=len(self.coco['images']),
            with_painted=len(
                {
                    x['image_id']
                    for x in self.coco['annotations']
                    if x['synthetic']
                }
            ),
            painted=len(self.records),
            seconds=read_seconds(self.folder),
            defects=self.counts(),
            reasons=dict(reasons),
            found={k: float(np.mean(x)) for k, x in found.items() if x},
        )
        if scorer is not None:
            features = {
                name: (self.embed(scorer, boxes), labels_of(boxes))
                for name, boxes in (
                    ('real', self.real),
                    ('kept', self.kept),
                    ('refused', self.refused),
                )
            }
            summary['kernel_distance'] = {
                name: self.distances(features['real'], features[name])
                for name in ('kept', 'refused')
            }
            # of one half of the real ones to the other: what 0 looks like
            halves = [
                tuple(x[half] for x in features['real'])
                for half in image_halves(self.real)
            ]
            summary['kernel_distance']['real'] = self.distances(*halves)
        return summary

    def distances(self, real: tuple, other: tuple) -> Dict[str, list]:
        """Kernel distances of all defects and of those of each class."""
        result = {}
        for label, name in enumerate(('all', *self.classes), start=-1):
            pair = [
                x if label < 0 else x[labels == label]
                for x, labels in (real, other)
            ]
            if min(map(len, pair)) >= LEAST:
                result[name] = kernel_distance_spread(*pair)
        return result

    @staticmethod
    def embed(scorer: CLIPScorer, boxes: Sequence[Box]) -> torch.Tensor:
        """Features ``(N, D)`` of boxes, of the length of the root of D."""
        parts = []
        for start in range(0, len(boxes), 32):
            part = boxes[start : start + 32]
            shapes = [read_image(x[0], 1).shape[:2] for x in part]
            found = scorer.embed_regions(
                [x[0] for x in part],
                [torch.tensor([x[1]]) for x in part],
                shapes,
            )
            parts += found
        if not parts:
            return torch.zeros(0, scorer.texts.shape[1])
        features = torch.cat(parts).cpu()
        # KID's kernel expects coordinates of about 1
        return features * features.shape[1] ** 0.5

    def gallery(self) -> Figure:
        """Real, kept and refused defects of each class."""
        blocks = [self.real, self.kept, self.refused]
        rows = {
            name: [self.tiles(x, label) for x in blocks]
            for label, name in enumerate(self.classes)
        }
        return synthetic_gallery(rows, ('real', 'synthetic', 'refused'))

    @staticmethod
    def tiles(boxes: Sequence[Box], label: int) -> List[Tile]:
        """Tiles of some defects of a class, spread over all of them."""
        mine = [x for x in boxes if x[2] == label]
        chosen = np.linspace(0, len(mine) - 1, min(SHOWN, len(mine)))
        return [
            cut_tile(read_image(path, 1), box, title)
            for path, box, _, title in (mine[round(i)] for i in chosen)
        ]


def image_halves(boxes: Sequence[Box]) -> List[List[int]]:
    """Split real defects in two, all of an image on the same side.

    Two defects of one image share its light and its steel: apart, they would
    make the halves more alike than defects of new images are.

    Args:
        boxes (Sequence[Box]): Defects.

    Returns:
        list[list[int]]: Indices of those in a random half of the images,
        always the same, and of those in the other.
    """
    images = [*dict.fromkeys(x[0] for x in boxes)]
    order = np.random.default_rng(0).permutation(len(images))
    first = {images[i] for i in order[: len(images) // 2]}
    return [
        [i for i, x in enumerate(boxes) if (x[0] in first) == side]
        for side in (True, False)
    ]


def labels_of(boxes: Sequence[Box]) -> torch.Tensor:
    """Labels ``(N,)``."""
    return torch.tensor([x[2] for x in boxes], dtype=torch.long)
