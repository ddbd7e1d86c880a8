from typing import List, NamedTuple, Optional, Sequence, Tuple

import numpy as np
from mmdet.evaluation import bbox_overlaps
from mmengine.dataset import BaseDataset

from ..errors import InputError
from .windows import MAX_FEATHER, feather_width, real_instances

BACKGROUNDS = ('clean', 'keep', 'replace')
TRIES = 30  # to find a place for a box
IMAGES = 200  # of a class, to find one with room for a box
MIN_SIDE = 4.0  # px of a drawn box


class Plan(NamedTuple):
    """What one synthetic image is to show.

    Attributes:
        path (str): Real image that is its background.
        shape (tuple[int]): Height and width.
        erased (np.ndarray): ``(M, 4)``, corners in px of what is painted
            without a defect before: the true boxes made somewhat larger, long
            ones in parts.
        gone (np.ndarray): ``(R, 4)``, the true boxes under them, whole.
        kept (np.ndarray): ``(K, 4)``, true boxes that stay.
        kept_labels (np.ndarray): ``(K,)``.
        kept_ignored (np.ndarray): ``(K,)``, bool, of those to be ignored.
        boxes (np.ndarray): ``(N, 4)``, of what is painted.
        labels (np.ndarray): ``(N,)``.
        replaces (bool): Each of ``boxes`` lies on a true defect of its label,
            which stays if the painting is refused. Defaults to False.
        decoys (np.ndarray): ``(D, 4)``, places without a defect that are
            painted all the same. Defaults to none.
    """

    path: str
    shape: Tuple[int, int]
    erased: np.ndarray
    gone: np.ndarray
    kept: np.ndarray
    kept_labels: np.ndarray
    kept_ignored: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    replaces: bool = False
    decoys: np.ndarray = np.zeros((0, 4), np.float32)

    @property
    def truth(self) -> np.ndarray:
        """All true boxes ``(T, 4)`` of the real image."""
        replaced = self.boxes if self.replaces else self.boxes[:0]
        return np.concatenate([self.gone, self.kept, replaced])


class DefectLayout:
    """Draws where which defects are painted, as the labelled set has them.

    A class is drawn, then a background among the images that show it: classes
    have surfaces of their own. Number, sizes and shapes of boxes are those of
    the class in the labelled images; sizes may be spread wider.

    With ``'replace'`` the real images are dealt instead, each once before one
    comes again, unless classes are to be balanced: an image stays in the set
    with its other defects, and drawn at random 37% of them (1 / e) would not
    be in a set of their number while others were there three times.

    Args:
        dataset (BaseDataset): Labelled images.
        background (str): ``'clean'`` paints the true defects out before;
            ``'keep'`` leaves them, with their boxes, and adds others where
            there is room; ``'replace'`` paints another of the class into the
            boxes of some: boxes are where and as a person drew them. Defaults
            to ``'clean'``.
        balance (bool): Draw every class alike, not as often as the labelled
            images show it. Defaults to False.
        max_boxes (int): Painted in an image. Defaults to 3.
        spread (float): Sides are multiplied by a factor from ``1 / spread``
            to ``spread``. Defaults to 1.25.
        max_overlap (float): Share of a box that others may cover; with
            ``'replace'`` no box is painted anew that covers more of another.
            Defaults to 0.1.
        share (float): Of the true boxes of an image that ``'replace'`` paints
            anew, one at least. Defaults to 0.5.
        decoys (int): Boxes that are painted without a defect where none is,
            with ``'keep'`` and ``'replace'`` and as far as there is room
            without touching a defect: what tells a painting from steel is
            then no sign of a defect. Defaults to 0.
        classes (Sequence[int], optional): Labels that are painted. Defaults
            to None, all.

    Raises:
        InputError: For an unknown background, a spread below 1, or a set
            without boxes.
    """

    def __init__(
        self,
        dataset: BaseDataset,
        background: str = 'clean',
        balance: bool = False,
        max_boxes: int = 3,
        spread: float = 1.25,
        max_overlap: float = 0.1,
        share: float = 0.5,
        decoys: int = 0,
        classes: Optional[Sequence[int]] = None,
    ) -> None:
        if background not in BACKGROUNDS:
            raise InputError(
                f'layout: background={background!r}: give one of '
                f'{", ".join(BACKGROUNDS)}'
            )
        if not spread >= 1:
            raise InputError(
                f'layout: spread={spread}: give 1 or more, such as 1.25'
            )
        self.background = background
        self.max_boxes = max_boxes
        self.spread = spread
        self.max_overlap = max_overlap
        self.share = share
        self.decoys = decoys
        count = len(dataset.metainfo['classes'])
        self.images: List[list] = [[] for _ in range(count)]
        self.sides: List[list] = [[] for _ in range(count)]
        for i in range(len(dataset)):
            info = dataset.get_data_info(i)
            found = info['instances']
            boxes = np.array([x['bbox'] for x in found], np.float32)
            entry = (
                info['img_path'],
                (info['height'], info['width']),
                boxes.reshape(-1, 4),
                np.array([x['bbox_label'] for x in found], int),
                np.array([x.get('ignore_flag', 0) for x in found], bool),
            )
            real = [(x['bbox_label'], x['bbox']) for x in real_instances(info)]
            for label in {label for label, _ in real}:
                self.images[label].append(entry)
            for label, (x1, y1, x2, y2) in real:
                self.sides[label].append((x2 - x1, y2 - y1))
        self.classes = [*range(count)] if classes is None else [*classes]
        shown = np.array([len(x) for x in self.images], float)
        shown[np.setdiff1d(np.arange(count), self.classes)] = 0
        if not shown.any():
            of = '' if classes is None else f' of the classes {self.classes}'
            raise InputError(
                f'{type(dataset).__name__}: no image has a box{of}, so there '
                'is no defect to paint: give labelled images'
            )
        if balance:
            shown = (shown > 0).astype(float)
        self.shares = shown / shown.sum()
        self.deck = []
        if background == 'replace' and not balance:
            found = {x[0]: x for entries in self.images for x in entries}
            self.deck = [x for x in found.values() if len(self._able(*x[1:]))]

    def draw(
        self, rng: np.random.Generator, number: int = 0, seed: int = 0
    ) -> Plan:
        """Draw an image.

        Args:
            rng (np.random.Generator): Source of randomness.
            number (int): Which image of a set, for those that are dealt.
                Defaults to 0.
            seed (int): Of the order in which they are dealt. Defaults to 0.

        Returns:
            Plan: With one box to paint at least.

        Raises:
            InputError: If there is no room for one.
        """
        if self.deck:
            deal, place = divmod(number, len(self.deck))
            order = np.random.default_rng([seed, deal, len(self.deck)])
            image = self.deck[order.permutation(len(self.deck))[place]]
            able = rng.permutation(self._able(*image[1:]))
            return self._replace(able, *image, rng)
        shares = self.shares.copy()
        while shares.any():
            label = int(rng.choice(len(shares), p=shares / shares.sum()))
            for _ in range(IMAGES):
                plan = self._draw_of(label, rng)
                if plan is not None:
                    return plan
            shares[label] = 0  # no image of it has room
        raise InputError(
            f'layout: there is no room for a box: background='
            f"{self.background!r}, max_boxes={self.max_boxes}: give 'clean', "
            'and 1 box or more'
        )

    def _draw_of(self, label: int, rng: np.random.Generator) -> Optional[Plan]:
        """Draw an image of a class; None if it has no room for a box."""
        images = self.images[label]
        path, shape, truth, *more = images[rng.integers(len(images))]
        if self.background == 'replace':
            able = rng.permutation(self._able(shape, truth, *more))
            of_class = more[0][able] == label
            if not of_class.any():
                return None
            # the class that was drawn comes first
            able = able[np.argsort(~of_class, kind='stable')]
            return self._replace(able, path, shape, truth, *more, rng)
        # as many of the class as one of its images shows
        *_, labels, ignored = images[rng.integers(len(images))]
        shown = (labels == label) & ~ignored
        keep = self.background == 'keep'
        taken = [*truth] if keep else []
        boxes = []
        for _ in range(min(int(shown.sum()), self.max_boxes)):
            box = self.place(label, shape, taken, rng)
            if box is not None:
                taken.append(box)
                boxes.append(box)
        if not boxes:
            return None
        return Plan(
            path,
            shape,
            truth[:0] if keep else in_windows(grown(truth), shape),
            truth[:0] if keep else truth,
            *(x if keep else x[:0] for x in (truth, *more)),
            np.array(boxes, np.float32),
            np.full(len(boxes), label),
            decoys=self._decoys(label, shape, taken if keep else None, rng),
        )

    def _decoys(
        self,
        label: int,
        shape: Tuple[int, int],
        taken: Optional[Sequence[np.ndarray]],
        rng: np.random.Generator,
    ) -> np.ndarray:
        """Draw boxes ``(D, 4)`` that stay without a defect."""
        decoys: List[np.ndarray] = []
        for _ in range(0 if taken is None else self.decoys):
            # a part of a defect would be painted over and keep its label
            box = self.place(label, shape, [*taken, *decoys], rng, 0.0)
            decoys += [] if box is None else [box]
        return np.array(decoys, np.float32).reshape(-1, 4)

    def _able(
        self,
        shape: Tuple[int, int],
        truth: np.ndarray,
        labels: np.ndarray,
        ignored: np.ndarray,
    ) -> np.ndarray:
        """Indices ``(A,)`` of an image's boxes that may be painted anew."""
        # a window is a square: what is longer would not fit
        fits = (truth[:, 2:] - truth[:, :2]).max(1) <= min(shape)
        fits &= np.isin(labels, self.classes)
        # nor is one box painted over another, which would keep its label
        covered = bbox_overlaps(truth, truth, mode='iof')
        np.fill_diagonal(covered, 0)
        fits &= covered.max(0) <= self.max_overlap
        return np.nonzero(~ignored & fits)[0]

    def _replace(
        self,
        able: np.ndarray,
        path: str,
        shape: Tuple[int, int],
        truth: np.ndarray,
        labels: np.ndarray,
        ignored: np.ndarray,
        rng: np.random.Generator,
    ) -> Plan:
        """Paint the first of an image's boxes that may be, in this order."""
        count = min(max(round(self.share * len(able)), 1), self.max_boxes)
        chosen = np.sort(able[:count])
        rest = np.setdiff1d(np.arange(len(truth)), chosen)
        label = int(labels[able[0]])
        return Plan(
            path,
            shape,
            truth[:0],
            truth[:0],
            truth[rest],
            labels[rest],
            ignored[rest],
            truth[chosen],
            labels[chosen],
            replaces=True,
            decoys=self._decoys(label, shape, truth, rng),
        )

    def place(
        self,
        label: int,
        shape: Tuple[int, int],
        taken: Sequence[np.ndarray],
        rng: np.random.Generator,
        max_overlap: Optional[float] = None,
    ) -> Optional[np.ndarray]:
        """Draw a box that others do not cover.

        Args:
            label (int): Class.
            shape (tuple[int]): Height and width of the image.
            taken (Sequence[np.ndarray]): Other boxes.
            rng (np.random.Generator): Source of randomness.
            max_overlap (float, optional): Share of a box that others may
                cover. Defaults to None, that of the layout.

        Returns:
            np.ndarray, optional: ``(4,)``, corners in px; None if none was
            found.
        """
        if max_overlap is None:
            max_overlap = self.max_overlap
        (height, width), shorter = shape, min(shape)
        log = np.log(self.spread)
        for _ in range(TRIES):
            sides = self.sides[label][rng.integers(len(self.sides[label]))]
            w, h = sides * np.exp(rng.uniform(-log, log, 2))
            w, h = (
                float(np.clip(x, min(MIN_SIDE, limit), limit))
                # a window is a square: what is longer would not fit
                for x, limit in ((w, shorter), (h, shorter))
            )
            x, y = rng.uniform(0, width - w), rng.uniform(0, height - h)
            box = np.array([x, y, x + w, y + h], np.float32)
            if all(overlap(box, x) <= max_overlap for x in taken):
                return box
        return None


def grown(boxes: np.ndarray) -> np.ndarray:
    """Make boxes larger by what the feathered edge of a paste leaves over."""
    sides = boxes[:, 2:] - boxes[:, :2]
    margin = np.array([[feather_width(x)] for x in sides.min(1)], np.float32)
    margin = margin.reshape(-1, 1)
    return np.concatenate([boxes[:, :2] - margin, boxes[:, 2:] + margin], 1)


def in_windows(boxes: np.ndarray, shape: Tuple[int, int]) -> np.ndarray:
    """Cut boxes into parts for which the largest window is long enough.

    Only what lies in the image needs a window. A half beside its other half
    would be painted with the defect still in its surroundings.

    Args:
        boxes (np.ndarray): ``(N, 4)``, corners in px; may reach beyond the
            image.
        shape (tuple[int]): Height and width of the image.

    Returns:
        np.ndarray: ``(M, 4)``, which overlap by what the feathered edge of a
        paste leaves over.
    """
    height, width = shape
    parts = []
    for x1, y1, x2, y2 in boxes:
        spans = []
        for low, high, size in ((x1, x2, width), (y1, y2, height)):
            visible = min(high, size) - max(low, 0)
            # parts are longer than their share by a margin at either end
            most = max(min(shape) - 2 * MAX_FEATHER, 1)
            count = 1
            if visible > min(shape):
                count = int(np.ceil(visible / most))
            edges = np.linspace(low, high, count + 1)
            margin = MAX_FEATHER if count > 1 else 0
            spans.append(
                [(a - margin, b + margin) for a, b in zip(edges, edges[1:])]
            )
        parts += [(a, c, b, d) for a, b in spans[0] for c, d in spans[1]]
    return np.array(parts, np.float32).reshape(-1, 4)


def overlap(first: np.ndarray, second: np.ndarray) -> float:
    """Share of the smaller of two boxes that the other covers."""
    low = np.maximum(first[:2], second[:2])
    high = np.minimum(first[2:], second[2:])
    shared = np.clip(high - low, 0, None).prod()
    areas = [(x[2:] - x[:2]).prod() for x in (first, second)]
    return float(shared / max(min(areas), 1e-6))
