from typing import NamedTuple, Optional, Sequence, Tuple

import cv2
import numpy as np

FEATHER = 0.15  # of a box's shorter side: over which the edge is mixed ...
MAX_FEATHER = 3.0  # ... but not more px: the label is that of the whole box
# The same on a true defect of the class: what shines through is labelled too.
REPLACED_FEATHER = 0.3


class Window(NamedTuple):
    """A square part of an image, at the size that a model paints.

    Attributes:
        image (np.ndarray): ``(S, S, C)``, uint8.
        left (int): In px of the image.
        top (int): In px of the image.
        side (int): In px of the image.
    """

    image: np.ndarray
    left: int
    top: int
    side: int

    def to_window(self, boxes: np.ndarray) -> np.ndarray:
        """Boxes of the image in parts of the window.

        Args:
            boxes (np.ndarray): ``(N, 4)``, corners in px of the image.

        Returns:
            np.ndarray: ``(N, 4)``, corners from 0 to 1, clipped.
        """
        origin = np.array([self.left, self.top] * 2, dtype=np.float32)
        boxes = (np.asarray(boxes, np.float32) - origin) / self.side
        return boxes.clip(0, 1)


def place_window(
    box: Sequence[float],
    shape: Tuple[int, int],
    context: float,
    rng: Optional[np.random.Generator] = None,
    min_side: int = 32,
) -> Tuple[int, int, int]:
    """Choose a square around a box that lies in the image.

    Args:
        box (Sequence[float]): Corners in px.
        shape (tuple[int]): Height and width of the image.
        context (float): Side of the square for one of the box's longer side.
        rng (np.random.Generator, optional): Moves the square as far as the
            box stays in it. Defaults to None, the box in the middle.
        min_side (int): In px. Defaults to 32.

    Returns:
        tuple[int]: Left, top, side; a square of the shorter side of the
        image at most.
    """
    x1, y1, x2, y2 = box
    longer = max(x2 - x1, y2 - y1)
    side = int(np.ceil(max(longer * context, min_side)))
    side = min(side, *shape)
    corner = []
    for low, high, size in ((x1, x2, shape[1]), (y1, y2, shape[0])):
        # the corners for which the box is inside; of a longer box, a part
        first, last = sorted((int(np.ceil(high)) - side, int(low)))
        first = min(max(first, 0), size - side)
        last = min(max(last, 0), size - side)
        middle = round((low + high - side) / 2)
        if rng is not None:
            middle = int(rng.integers(first, last + 1))
        corner.append(min(max(middle, first), last))
    return corner[0], corner[1], side


def cut_window(
    image: np.ndarray, left: int, top: int, side: int, size: int
) -> Window:
    """Cut a square out of an image and resize it.

    Args:
        image (np.ndarray): ``(H, W, C)``, uint8.
        left (int): In px.
        top (int): In px.
        side (int): In px.
        size (int): Side of the result in px.

    Returns:
        Window: The window.
    """
    part = image[top : top + side, left : left + side]
    way = cv2.INTER_AREA if side > size else cv2.INTER_LINEAR
    resized = cv2.resize(part, (size, size), interpolation=way)
    return Window(resized.reshape(size, size, -1), left, top, side)


def real_instances(info: dict) -> list:
    """Instances of a data info that are not to be ignored."""
    return [x for x in info['instances'] if not x.get('ignore_flag', 0)]


def within_image(info: dict) -> dict:
    """Cut the boxes of a data info off at the border of the image.

    mmdet's data sets give boxes as they are written, and a VOC box of the
    first pixel begins at -1 there.

    Args:
        info (dict): With ``instances``; without ``height`` and ``width``
            boxes are cut off at 0 alone.

    Returns:
        dict: A copy, without boxes of which nothing is in the image.
    """
    limits = [info.get('width', np.inf), info.get('height', np.inf)] * 2
    found = []
    for instance in info['instances']:
        box = [
            min(max(float(x), 0.0), float(limit))
            for x, limit in zip(instance['bbox'], limits)
        ]
        if box[2] > box[0] and box[3] > box[1]:
            found.append(dict(instance, bbox=box))
    return dict(info, instances=found)


def feather_width(shorter: float, replaces: bool = False) -> float:
    """Over how many px the edge of a box with a shorter side is mixed.

    Args:
        shorter (float): In px.
        replaces (bool): A true defect of the class is in the box. Defaults to
            False.

    Returns:
        float: 1 at least.
    """
    if replaces:
        return max(REPLACED_FEATHER * shorter, 1.0)
    return float(np.clip(FEATHER * shorter, 1.0, MAX_FEATHER))


def feathered(
    box: Sequence[float], shape: Tuple[int, int], replaces: bool = False
) -> np.ndarray:
    """How much of a painting is seen in each pixel of an image.

    1 inside of a box, falling to 0 at its edges; 0 outside.

    Args:
        box (Sequence[float]): Corners in px.
        shape (tuple[int]): Height and width.
        replaces (bool): As :func:`feather_width`. Defaults to False.

    Returns:
        np.ndarray: ``(H, W)``, float32.
    """
    x1, y1, x2, y2 = box
    width = feather_width(min(x2 - x1, y2 - y1), replaces)
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float32) + 0.5
    inside = np.minimum(np.minimum(x - x1, x2 - x), np.minimum(y - y1, y2 - y))
    return np.clip(inside / width, 0, 1)


def paste(
    image: np.ndarray,
    window: Window,
    boxes: Sequence[Sequence[float]],
    replaces: bool = False,
) -> np.ndarray:
    """Put a painted window back, as far as it lies in the boxes.

    Args:
        image (np.ndarray): ``(H, W, C)``, uint8.
        window (Window): Painted.
        boxes (Sequence): Corners in px of the image.
        replaces (bool): As :func:`feather_width`. Defaults to False.

    Returns:
        np.ndarray: A copy; pixels outside of the boxes are those of
        ``image``.
    """
    side, left, top = window.side, window.left, window.top
    part = cv2.resize(
        window.image, (side, side), interpolation=cv2.INTER_LINEAR
    ).reshape(side, side, -1)
    origin = np.array([left, top] * 2)
    alpha = np.zeros((side, side), np.float32)
    for box in boxes:
        alpha = np.maximum(
            alpha, feathered(np.array(box) - origin, alpha.shape, replaces)
        )
    alpha = alpha[..., None]
    result = image.copy()
    behind = result[top : top + side, left : left + side]
    mixed = alpha * part + (1 - alpha) * behind
    behind[:] = np.rint(mixed).clip(0, 255).astype(np.uint8)
    return result
