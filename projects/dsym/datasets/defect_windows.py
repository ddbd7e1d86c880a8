from typing import Dict, Optional, Tuple, Union

import numpy as np
import torch
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS
from torch import Tensor
from torch.utils.data import Dataset

from ..diffusion.examples import KEPT, read_image
from ..diffusion.windows import (
    cut_window,
    place_window,
    real_instances,
    within_image,
)
from ..errors import InputError
from .real_images import real_part

SEEN = 0.5  # share of a box that has to be in a window
MIN_SHARE = 0.04  # of a window's side
TRIES = 30  # to find room without a defect
MIN_FREE = 8  # px


@DATASETS.register_module()
class DefectWindowDataset(Dataset):
    """Windows around the defects of a detection data set.

    An item is a square around one true box, of random size and place, and
    flipped at random: what :class:`ConditionalDiffusion` is trained on.

    Args:
        dataset (dict or BaseDataset): Labelled images; synthetic ones of a
            :class:`DiffusionAugment` are left out, before they are painted.
        size (int): Side of a window in px. Defaults to 64.
        context (tuple[float]): Range of the window's side for one of the
            box's longer side. Defaults to (1.2, 2.5).
        image_channels (int): 1 for grey, 3 for RGB. Defaults to 1.
        repeat (int): Windows of a box in an epoch. Defaults to 1.
        balance (bool): Repeat rare classes until each has as many windows.
            Defaults to True.
        min_side (int): Least side of a window in px of its image. Defaults
            to 32.
        clean (float): Share of items whose box is one without a defect, of
            the size of a true one: to learn to paint defects out. Where there
            is no room for it in an image, the item stays a defect. Defaults
            to 0.

    Raises:
        InputError: If no image has a box.
    """

    def __init__(
        self,
        dataset: Union[dict, BaseDataset],
        size: int = 64,
        context: Tuple[float, float] = (1.2, 2.5),
        image_channels: int = 1,
        repeat: int = 1,
        balance: bool = True,
        min_side: int = 32,
        clean: float = 0.0,
    ) -> None:
        # a painter is not to learn from paintings
        dataset = real_part(dataset)
        if isinstance(dataset, dict):
            dataset = DATASETS.build(dataset)
        self.dataset = dataset
        self.metainfo = dataset.metainfo
        self.size = size
        self.context = context
        self.min_side = min_side
        self.clean = clean
        self.image_channels = image_channels
        self.images: Dict[str, np.ndarray] = {}
        places = [
            (i, j, box['bbox_label'])
            for i in range(len(dataset))
            for j, box in enumerate(real_instances(self.info(i)))
        ]
        if not places:
            raise InputError(
                f'DefectWindowDataset: {type(dataset).__name__} has no box, '
                'so there is no defect to learn: give labelled images'
            )
        if balance:
            places = balanced(places)
        self.places = places * repeat

    def __len__(self) -> int:
        """Number of windows."""
        return len(self.places)

    def full_init(self) -> None:
        """Nothing is left to do."""

    def info(self, index: int) -> dict:
        """Data info of an image, its boxes within it."""
        return within_image(self.dataset.get_data_info(index))

    def image(self, path: str) -> np.ndarray:
        """Read an image, or take it from those read last."""
        if path not in self.images:
            if len(self.images) == KEPT:
                del self.images[next(iter(self.images))]
            self.images[path] = read_image(path, self.image_channels)
        return self.images[path]

    def __getitem__(self, index: int) -> Dict[str, Tensor]:
        """Draw a window.

        Args:
            index (int): Which place.

        Returns:
            dict[str, Tensor]: ``inputs`` ``(C, S, S)`` from -1 to 1;
            ``labels`` ``(n,)`` and ``boxes`` ``(n, 4)``, corners from 0 to 1,
            of the chosen defect and of each other one in it by chance: what
            is left out is to be seen beside it; or the label ``C + 1`` and a
            box without a defect, alone.
        """
        rng = np.random.default_rng(np.random.randint(2**31))
        i, j, _ = self.places[index]
        info = self.info(i)
        image = self.image(info['img_path'])
        real = real_instances(info)
        real = [real[j], *real]
        boxes = np.array([x['bbox'] for x in real], np.float32)
        labels = np.array([x['bbox_label'] for x in real])
        empty = None
        if rng.random() < self.clean:
            taken = [x['bbox'] for x in info['instances']]
            empty = free_box(
                image.shape[:2], boxes, np.array(taken, np.float32), rng
            )
        target = boxes[0] if empty is None else empty
        place = place_window(
            target,
            image.shape[:2],
            rng.uniform(*self.context),
            rng,
            self.min_side,
        )
        window = cut_window(image, *place, self.size)
        if empty is not None:
            boxes = empty[None]
            labels = np.array([len(self.metainfo['classes']) + 1])
        inside = window.to_window(boxes)
        areas = (boxes[:, 2:] - boxes[:, :2]).prod(1) / window.side**2
        sides = inside[:, 2:] - inside[:, :2]
        seen = (sides.prod(1) >= SEEN * areas) & (sides >= MIN_SHARE).all(1)
        seen[0] = True
        if empty is None:
            # half of the others stay in the surroundings, as when painting
            seen[1:] &= rng.random(len(seen) - 1) < 0.5
            seen[1 + j] = False  # it is the first
        inside, labels = inside[seen], labels[seen]
        pixels, inside = flipped(window.image, inside, rng)
        pixels = torch.from_numpy(pixels).permute(2, 0, 1).float()
        return dict(
            inputs=pixels / 127.5 - 1,
            labels=torch.from_numpy(labels).long(),
            boxes=torch.from_numpy(inside),
        )


def free_box(
    shape: Tuple[int, int],
    boxes: np.ndarray,
    taken: np.ndarray,
    rng: np.random.Generator,
) -> Optional[np.ndarray]:
    """Draw a box that touches no other, of the size of a defect or less.

    Args:
        shape (tuple[int]): Height and width of the image.
        boxes (np.ndarray): ``(N, 4)``, corners in px, of defects.
        taken (np.ndarray): ``(M, 4)``, of all that may not be touched.
        rng (np.random.Generator): Source of randomness.

    Returns:
        np.ndarray, optional: ``(4,)``; None if none was found.
    """
    height, width = shape
    for _ in range(TRIES):
        x1, y1, x2, y2 = boxes[rng.integers(len(boxes))]
        scale = rng.uniform(0.25, 1.0)
        w, h = (x2 - x1) * scale, (y2 - y1) * scale
        x, y = rng.uniform(0, width - w), rng.uniform(0, height - h)
        apart = (
            (taken[:, 0] >= x + w)
            | (taken[:, 2] <= x)
            | (taken[:, 1] >= y + h)
            | (taken[:, 3] <= y)
        )
        if apart.all() and min(w, h) >= MIN_FREE:
            return np.array([x, y, x + w, y + h], np.float32)
    return None


def balanced(places: list) -> list:
    """Repeat places until every class has as many as the most frequent."""
    by_class: Dict[int, list] = {}
    for place in places:
        by_class.setdefault(place[-1], []).append(place)
    most = max(map(len, by_class.values()))
    return [
        part[i % len(part)]
        for _, part in sorted(by_class.items())
        for i in range(most)
    ]


def flipped(
    image: np.ndarray, boxes: np.ndarray, rng: np.random.Generator
) -> Tuple[np.ndarray, np.ndarray]:
    """Flip an image and boxes from 0 to 1 in each direction by chance."""
    for axis in (0, 1):
        if rng.random() < 0.5:
            image = np.flip(image, axis)
            near, far = 1 - axis, 3 - axis
            boxes = boxes.copy()
            boxes[:, [near, far]] = 1 - boxes[:, [far, near]]
    return np.ascontiguousarray(image), boxes
