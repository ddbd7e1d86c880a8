"""Images of SteelSynth: defects laid out on a steel surface.

A defect's mask is where the opacity that its painter returned is at least
``VISIBLE``, and its box is the tight box of that mask inside the image:
nothing is annotated that was not drawn.
"""

import math
from dataclasses import dataclass
from typing import Callable, Dict, List, Optional, Tuple

import numpy as np

from .neu_det_meta import CLASSES
from .steel_defects import (
    crazing,
    inclusion,
    patches,
    pitted_surface,
    rolled_in_scale,
    scratches,
)
from .steel_textures import IMAGE_SIZE, from_quantiles, steel_surface

#: Opacity from which a pixel belongs to the defect.
VISIBLE = 0.35
#: A defect whose box is narrower or lower than this, in px, is not drawn.
#: The smallest side of NEU-DET's 3743 training boxes is 8 px.
MIN_SIDE = 8


@dataclass(frozen=True)
class DefectStyle:
    """How the defects of one class are laid out.

    Counts, sides, correlation and strays are measured on the 1620 images and
    3743 boxes of train.txt.

    Attributes:
        paint (Callable): The painter.
        counts (tuple[float]): Share of images with 1, 2, ... boxes.
        width (tuple[float]): Quantiles at ``LEVELS`` of the boxes' width, in
            px. Of scratches: the shorter side.
        height (tuple[float]): The same of their height, or longer side.
        rho (float): Rank correlation of width and height.
        sideways (float): Share of images whose defects lie across.
        strength (tuple[float]): Range of the relative change of brightness
            at full opacity: negative darkens.
        decoys (float): Mean number of faint things an image holds that look
            like the class and are not annotated.
        stray (str, optional): Another class that comes with this one.
        stray_share (float): Share of images with such strays.
    """

    paint: Callable[[np.random.Generator, int, int], np.ndarray]
    counts: Tuple[float, ...]
    width: Tuple[float, ...]
    height: Tuple[float, ...]
    rho: float
    strength: Tuple[float, float]
    decoys: float
    sideways: float = 0.0
    stray: Optional[str] = None
    stray_share: float = 0.0


DEFECTS: Dict[str, DefectStyle] = {
    'crazing': DefectStyle(
        paint=crazing,
        counts=(0.15, 0.49, 0.31, 0.05),
        width=(31, 59, 90, 124, 154, 191, 199),
        height=(29, 42, 55, 70, 89, 132, 197),
        rho=-0.1,
        strength=(-0.5, -0.27),
        decoys=1.5,
    ),
    'inclusion': DefectStyle(
        paint=inclusion,
        counts=(0.2, 0.27, 0.24, 0.14, 0.07, 0.04, 0.02, 0.01, 0.01),
        width=(10, 14, 20, 25, 35, 52, 80),
        height=(12, 28, 45, 70, 129, 197, 199),
        rho=0.76,
        strength=(-0.35, -0.1),
        decoys=0.8,
    ),
    'patches': DefectStyle(
        paint=patches,
        counts=(0.17, 0.29, 0.31, 0.16, 0.04, 0.03),
        width=(17, 31, 42, 54, 71, 93, 159),
        height=(13, 28, 50, 74, 113, 189, 199),
        rho=0.5,
        strength=(-0.8, -0.4),
        decoys=0.7,
        stray='inclusion',
        stray_share=0.1,
    ),
    'pitted_surface': DefectStyle(
        paint=pitted_surface,
        counts=(0.64, 0.31, 0.03, 0.02),
        width=(23, 44, 81, 126, 187, 199, 199),
        height=(19, 75, 170, 192, 197, 199, 199),
        rho=0.31,
        strength=(-0.45, -0.14),
        decoys=0.4,
        stray='patches',
        stray_share=0.1,
    ),
    'rolled-in_scale': DefectStyle(
        paint=rolled_in_scale,
        counts=(0.22, 0.53, 0.2, 0.05),
        width=(21, 37, 50, 66, 90, 124, 176),
        height=(16, 28, 50, 68, 100, 152, 196),
        rho=0.25,
        strength=(-0.5, -0.25),
        decoys=1.5,
    ),
    'scratches': DefectStyle(
        paint=scratches,
        counts=(0.45, 0.36, 0.16, 0.03),
        width=(8, 11, 15, 19, 28, 41, 60),
        height=(12, 60, 118, 175, 197, 199, 199),
        rho=-0.1,
        strength=(0.25, 1.7),
        decoys=1.0,
        sideways=0.2,
        stray='inclusion',
        stray_share=0.18,
    ),
}


@dataclass
class SteelSample:
    """One SteelSynth image with its annotation, N defects.

    Attributes:
        image (np.ndarray): (H, W) uint8 grey levels.
        labels (np.ndarray): (N,) int64 indices into :data:`CLASSES`.
        masks (np.ndarray): (N, H, W) bool.
        boxes (np.ndarray): (N, 4) int64 tight boxes of the masks, (x1, y1,
            x2, y2) in px; x2 and y2 are the first column and row outside.
    """

    image: np.ndarray
    labels: np.ndarray
    masks: np.ndarray
    boxes: np.ndarray


def mask_to_box(mask: np.ndarray) -> Optional[Tuple[int, int, int, int]]:
    """Tight box of a mask.

    Args:
        mask (np.ndarray): (H, W) bool.

    Returns:
        tuple[int] | None: (x1, y1, x2, y2), the last two exclusive, in px;
        None for an empty mask.
    """
    cols = np.flatnonzero(mask.any(0))
    rows = np.flatnonzero(mask.any(1))
    if not len(cols):
        return None
    return int(cols[0]), int(rows[0]), int(cols[-1]) + 1, int(rows[-1]) + 1


def draw_size(rng: np.random.Generator, style: DefectStyle) -> Tuple[int, int]:
    """Draw a width and height with the class's correlation (a copula)."""
    a, b = rng.standard_normal(2)
    b = style.rho * a + math.sqrt(1 - style.rho**2) * b
    u, v = (0.5 * (1 + math.erf(z / math.sqrt(2))) for z in (a, b))
    return (
        round(from_quantiles(u, style.width)),
        round(from_quantiles(v, style.height)),
    )


def draw_opacity(
    rng: np.random.Generator,
    name: str,
    scale: float = 1.0,
    sideways: bool = False,
) -> np.ndarray:
    """Paint one defect of a class somewhere on an empty image.

    Args:
        rng (np.random.Generator): Source of randomness.
        name (str): One of :data:`CLASSES`.
        scale (float): Factor on the drawn size. Defaults to 1.
        sideways (bool): Whether to swap width and height. Defaults to False.

    Returns:
        np.ndarray: (IMAGE_SIZE, IMAGE_SIZE) float32 opacity in [0, 1].
    """
    style = DEFECTS[name]
    width, height = draw_size(rng, style)
    if sideways:
        width, height = height, width
    # A mask ends about 10 % inside its patch on every side.
    width = max(round(1.2 * scale * width), MIN_SIDE + 2)
    height = max(round(1.2 * scale * height), MIN_SIDE + 2)
    local = style.paint(rng, height, width)
    # Strips go on outside the image: 20 to 40 % of the real boxes touch an
    # edge of it.
    reach = 0.2 if rng.random() < 0.6 else 0.0
    left, top = (
        round(
            -reach * side
            + rng.random() * (IMAGE_SIZE - side + 2 * reach * side)
        )
        for side in (width, height)
    )
    canvas = np.zeros((IMAGE_SIZE, IMAGE_SIZE), np.float32)
    x1, y1 = max(left, 0), max(top, 0)
    x2, y2 = min(left + width, IMAGE_SIZE), min(top + height, IMAGE_SIZE)
    canvas[y1:y2, x1:x2] = local[y1 - top : y2 - top, x1 - left : x2 - left]
    return canvas


def overlaps(box: Tuple[int, ...], others: List[Tuple[int, ...]]) -> bool:
    """Whether over 30 % of the smaller of two boxes lies in the other.

    Only 2 to 16 % of NEU-DET's pairs of boxes of one class and image do.
    """
    for other in others:
        width = min(box[2], other[2]) - max(box[0], other[0])
        height = min(box[3], other[3]) - max(box[1], other[1])
        smaller = min((b[2] - b[0]) * (b[3] - b[1]) for b in (box, other))
        if max(width, 0) * max(height, 0) > 0.3 * smaller:
            return True
    return False


def render_steel_image(seed: int, index: int) -> SteelSample:
    """Draw one image; a pure function of its arguments.

    The main class of image ``index`` is ``index % 6``, as NEU-DET has as many
    images of each class; stray defects of another class are annotated too.

    Args:
        seed (int): Seed of the data set, not negative.
        index (int): Number of the image, not negative.

    Returns:
        SteelSample: The image and its exact annotation, at least one defect.
    """
    rng = np.random.default_rng((seed, index))
    main = CLASSES[index % len(CLASSES)]
    style = DEFECTS[main]
    image = steel_surface(rng, main)
    sideways = rng.random() < style.sideways
    # Images differ in contrast more than the defects of one image do.
    strength = rng.uniform(*style.strength)

    for _ in range(rng.poisson(style.decoys)):
        opacity = draw_opacity(rng, main, 0.45, sideways)
        image *= 1 + 0.4 * strength * opacity

    count = 1 + rng.choice(len(style.counts), p=style.counts)
    wanted = [(main, 1.0)] * count
    if style.stray and rng.random() < style.stray_share:
        wanted += [(style.stray, 0.5)] * rng.integers(1, 4)

    labels, masks, boxes = [], [], []
    for name, scale in wanted:
        # A crowded image may have no room for another defect, however small;
        # only the first one, on an empty image, must succeed.
        for attempt in range(5 if boxes else 100):
            shrink = 0.8**attempt if boxes else 1.0
            opacity = draw_opacity(rng, name, shrink * scale, sideways)
            mask = opacity >= VISIBLE
            box = mask_to_box(mask)
            if (
                box is not None
                and min(box[2] - box[0], box[3] - box[1]) >= MIN_SIDE
                and not overlaps(box, boxes)
            ):
                break
        else:
            continue
        if name == main:
            change = strength * math.exp(rng.normal(0, 0.15))
        else:
            change = rng.uniform(*DEFECTS[name].strength)
        image *= np.maximum(1 + change * opacity, 0.03)
        labels.append(CLASSES.index(name))
        masks.append(mask)
        boxes.append(box)
    return SteelSample(
        image=np.clip(np.rint(image), 0, 255).astype(np.uint8),
        labels=np.array(labels, np.int64),
        masks=np.stack(masks),
        boxes=np.array(boxes, np.int64),
    )
