import functools
from typing import Dict, List, NamedTuple, Sequence, Tuple

import cv2
import mmcv
import numpy as np
from mmengine.dataset import BaseDataset

from ..errors import InputError
from .windows import real_instances

KEPT = 256  # images in memory: of 1 MP and grey 256 MB
NEAREST = 8  # examples of about a box's size that one is drawn from
RING = 0.15  # of a box's sides: around it, where steel is compared
STEADY = 0.2  # a slope is drawn towards 0: a ring may have one side alone
GAIN = 1.5  # a defect's contrast is at most so many times more or less
GREY = 50.0  # a difference in brightness that counts as much as sides of e : 1


class Steel(NamedTuple):
    """What is around a box.

    Attributes:
        mean (float): Brightness.
        slopes (np.ndarray): ``(2,)``, by how much it grows along y and x
            over the length of the box.
        grain (float): Standard deviation of the rest.
    """

    mean: float
    slopes: np.ndarray
    grain: float

    def below(self, height: int, width: int) -> np.ndarray:
        """Brightness without grain as it goes on in the box, ``(H, W, 1)``."""
        y = (np.arange(height) + 0.5) / height - 0.5
        x = (np.arange(width) + 0.5) / width - 0.5
        plane = self.slopes[0] * y[:, None] + self.slopes[1] * x
        return (self.mean + plane).astype(np.float32)[..., None]


class Example(NamedTuple):
    """A real defect.

    Attributes:
        path (str): Its image.
        box (tuple[float]): Corners in px.
        around (Steel): What is around the box.
    """

    path: str
    box: Sequence[float]
    around: Steel


class DefectExamples:
    """Real defects of a data set, to put into other places.

    Its images are read when the first defect of their class is put somewhere.

    Args:
        dataset (BaseDataset): Labelled images.

    Raises:
        InputError: If it has no defect.
    """

    def __init__(self, dataset: BaseDataset) -> None:
        # each process has its own, of a set of any size
        self.image = functools.lru_cache(KEPT)(read_image)
        self.places: Dict[int, List[Tuple[str, Sequence[float]]]] = {}
        for i in range(len(dataset)):
            info = dataset.get_data_info(i)
            for x in real_instances(info):
                self.places.setdefault(x['bbox_label'], []).append(
                    (info['img_path'], x['bbox'])
                )
        self.of_class = functools.cache(self._of_class)
        if not self.places:
            raise InputError(
                f'{type(dataset).__name__}: no image has a box, so there is '
                'no defect to paint: give labelled images'
            )

    def _of_class(self, label: int) -> List[Example]:
        """Look at all defects of a class, when the first of it is painted."""
        return [
            Example(path, box, steel_around(self.image(path, 1), box))
            for path, box in self.places[label]
        ]

    def put_into(
        self,
        window: np.ndarray,
        box: np.ndarray,
        label: int,
        seed: int,
        scale: float = 1.0,
        truth: Sequence[Sequence[float]] = (),
    ) -> np.ndarray:
        """Put a defect of a class into a box of a window.

        One of about the box's size is drawn, so that its texture stays as fine
        as it is; flipped, resized to the box and made to fit: it stands out
        of the steel around the box, in brightness, its slope and contrast, as
        it stood out of its own.

        Args:
            window (np.ndarray): ``(S, S, C)``, uint8.
            box (np.ndarray): ``(4,)``, corners from 0 to 1.
            label (int): A class; a negative one takes a part of the window
                that shows no defect, or changes nothing if there is none.
            seed (int): Of the drawing.
            scale (float): Px of the image for one of the window. Defaults to
                1.
            truth (Sequence): ``(T, 4)``, corners from 0 to 1, where the
                window shows defects. Defaults to nowhere.

        Returns:
            np.ndarray: A copy of the window.
        """
        rng = np.random.default_rng(seed)
        size = window.shape[0]
        x1, y1 = np.floor(box[:2] * size).astype(int)
        x2, y2 = np.ceil(box[2:] * size).astype(int).clip(max=size)
        width, height = max(x2 - x1, 1), max(y2 - y1, 1)
        here = steel_around(window, (x1, y1, x2, y2))
        if label < 0:
            free = np.ones(window.shape[:2], bool)
            for taken in (box, *truth):
                a, b = np.floor(np.multiply(taken[:2], size)).astype(int)
                c, d = np.ceil(np.multiply(taken[2:], size)).astype(int)
                free[b:d, a:c] = False
            part = window[largest_square(free)]
            if not part.size:
                return window.copy()
            around = Steel(float(part.mean()), np.zeros(2), 0.0)
            # as fine as it is: mirrored until it fills the box
            missing = [
                max(a - b, 0) for a, b in zip((height, width), part.shape)
            ]
            part = np.pad(
                part, [(0, x) for x in missing] + [(0, 0)], mode='symmetric'
            )[:height, :width]
        else:
            sides = scale * width, scale * height
            example = self.draw(label, sides, here, rng)
            a, b, c, d = (round(x) for x in example.box)
            image = self.image(example.path, window.shape[2])
            # a sliver at the border has its last pixel
            a, b = min(a, image.shape[1] - 1), min(b, image.shape[0] - 1)
            part = image[b : max(d, b + 1), a : max(c, a + 1)]
            around = example.around
            if image.shape[2] > 1:  # known of a grey reading
                around = steel_around(image, example.box)
        slopes = around.slopes.copy()
        for axis in (0, 1):
            if rng.random() < 0.5:
                part = np.flip(part, axis)
                slopes[axis] *= -1
        shrinks = part.shape[0] > height and part.shape[1] > width
        part = cv2.resize(
            np.ascontiguousarray(part),
            (width, height),
            interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR,
        ).reshape(height, width, -1)
        gain = here.grain / around.grain if around.grain >= 1 else 1.0
        alone = part - around._replace(slopes=slopes).below(height, width)
        fitted = here.below(height, width) + (
            alone * np.float32(np.clip(gain, 1 / GAIN, GAIN))
        )
        result = window.copy()
        result[y1 : y1 + height, x1 : x1 + width] = fitted.round().clip(0, 255)
        return result

    def draw(
        self,
        label: int,
        sides: Tuple[float, float],
        here: Steel,
        rng: np.random.Generator,
    ) -> Example:
        """Draw a defect of about a size, from steel that is much the same.

        Args:
            label (int): Class.
            sides (tuple[float]): Width and height in px of an image.
            here (Steel): Where it is to go.
            rng (np.random.Generator): Source of randomness.

        Returns:
            Example: One of those whose sides, contrast and brightness have to
            be changed least.
        """
        mine = self.of_class(label)
        boxes = np.array([x.box for x in mine], np.float64)
        grain = np.array([x.around.grain for x in mine])
        mean = np.array([x.around.mean for x in mine])
        stretch = np.log((boxes[:, 2:] - boxes[:, :2]) / sides)
        change = (
            np.abs(stretch).sum(1)
            # of steel without any, 1 grey value is that of its rounding
            + np.abs(np.log((grain + 1) / (here.grain + 1)))
            + np.abs(mean - here.mean) / GREY
        )
        order = np.argsort(change, kind='stable')
        return mine[order[rng.integers(min(NEAREST, len(mine)))]]


def read_image(path: str, channels: int) -> np.ndarray:
    """Read an image as ``(H, W, C)``, grey or RGB."""
    image = mmcv.imread(
        path,
        flag='grayscale' if channels == 1 else 'color',
        channel_order='rgb',
    )
    return image.reshape(*image.shape[:2], -1)


def steel_around(image: np.ndarray, box: Sequence[float]) -> Steel:
    """Describe a ring around a box; the image if nothing is around it.

    Args:
        image (np.ndarray): ``(H, W, C)``.
        box (Sequence[float]): Corners in px.

    Returns:
        Steel: Least squares of a plane, its slopes drawn towards 0.
    """
    x1, y1, x2, y2 = box
    dx, dy = max(RING * (x2 - x1), 2), max(RING * (y2 - y1), 2)
    outer = np.zeros(image.shape[:2], bool)
    top, left = max(round(y1 - dy), 0), max(round(x1 - dx), 0)
    outer[top : round(y2 + dy), left : round(x2 + dx)] = True
    outer[round(y1) : round(y2), round(x1) : round(x2)] = False
    if not outer.any():
        return Steel(float(image.mean()), np.zeros(2), float(image.std()))
    y, x = np.nonzero(outer)
    grey = image[y, x].mean(1, dtype=np.float64)
    places = np.stack(
        [
            (y + 0.5 - (y1 + y2) / 2) / (y2 - y1),
            (x + 0.5 - (x1 + x2) / 2) / (x2 - x1),
        ],
        1,
    )
    known = np.column_stack([np.ones(len(y)), places])
    square = known.T @ known / len(y)
    square[[1, 2], [1, 2]] += STEADY
    mean, *slopes = np.linalg.solve(square, known.T @ grey / len(y))
    rest = grey - known @ [mean, *slopes]
    return Steel(float(mean), np.array(slopes), float(rest.std()))


def largest_square(free: np.ndarray) -> Tuple[slice, slice]:
    """The largest square that is free, of an odd side.

    Args:
        free (np.ndarray): ``(H, W)``, bool.

    Returns:
        tuple[slice]: Its rows and columns; empty if it has less than 3 px.
    """
    inside = np.pad(free, 1).astype(np.uint8)
    # px to the nearest that is taken, along the longer axis
    reach = cv2.distanceTransform(inside, cv2.DIST_C, 3)[1:-1, 1:-1]
    y, x = np.unravel_index(int(reach.argmax()), reach.shape)
    half = int(reach[y, x]) - 1
    if half < 1:
        return slice(0), slice(0)
    return slice(y - half, y + half + 1), slice(x - half, x + half + 1)
