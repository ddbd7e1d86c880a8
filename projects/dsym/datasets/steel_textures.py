"""Procedural hot-rolled steel: noise fields and defect-free surfaces.

Every function draws from the NumPy generator it is given and from nothing
else, so the same generator state gives the same pixels.
"""

import math
from dataclasses import dataclass
from typing import Dict, Sequence, Tuple

import cv2
import numpy as np

#: Height and width of every image, in px, as in NEU-DET.
IMAGE_SIZE = 200
#: Quantile levels at which the measured distributions are tabulated.
LEVELS = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


def from_quantiles(u: float, values: Sequence[float]) -> float:
    """Map a uniform number to a distribution tabulated at ``LEVELS``.

    Args:
        u (float): Uniform number in [0, 1].
        values (Sequence[float]): The distribution's quantiles at ``LEVELS``.

    Returns:
        float: The interpolated quantile.
    """
    return float(np.interp(u, LEVELS, values))


def standardize(field: np.ndarray) -> np.ndarray:
    """Shift and scale a field to mean 0 and standard deviation 1."""
    field = field - field.mean()
    return field / max(float(field.std()), 1e-6)


def smooth_noise(
    rng: np.random.Generator, height: int, width: int, sy: float, sx: float
) -> np.ndarray:
    """Gaussian noise with a correlation length of its own in each direction.

    White noise is drawn on a grid of one node every ``sy`` by ``sx`` px and
    interpolated bicubically, which costs less the smoother the noise is.

    Args:
        rng (np.random.Generator): Source of randomness.
        height (int): Height of the field, in px.
        width (int): Width of the field, in px.
        sy (float): Vertical grid step, in px.
        sx (float): Horizontal grid step, in px.

    Returns:
        np.ndarray: (height, width) float32, mean 0, standard deviation 1.
    """
    rows = max(2, math.ceil(height / sy) + 1)
    cols = max(2, math.ceil(width / sx) + 1)
    grid = rng.standard_normal((rows, cols), dtype=np.float32)
    full = cv2.resize(
        grid,
        (math.ceil(cols * sx), math.ceil(rows * sy)),
        interpolation=cv2.INTER_CUBIC,
    )
    # The outermost half step only repeats the edge of the grid.
    top, left = int(sy / 2), int(sx / 2)
    return standardize(full[top : top + height, left : left + width])


def streaky_grain(
    rng: np.random.Generator, size: int, length: int, angle: float
) -> np.ndarray:
    """Fine rolling grain: white noise smeared along one direction.

    Args:
        rng (np.random.Generator): Source of randomness.
        size (int): Height and width, in px.
        length (int): Length of the smear, in px (odd).
        angle (float): Direction from the x axis, in radians.

    Returns:
        np.ndarray: (size, size) float32, mean 0, standard deviation 1.
    """
    white = rng.standard_normal((size, size), dtype=np.float32)
    kernel = np.zeros((length, length), np.uint8)
    reach = (length - 1) / 2
    dx, dy = reach * math.cos(angle), reach * math.sin(angle)
    ends = [
        (round(reach - dx), round(reach - dy)),
        (round(reach + dx), round(reach + dy)),
    ]
    cv2.line(kernel, ends[0], ends[1], 255, 1, cv2.LINE_AA)
    weights = kernel.astype(np.float32) / kernel.sum()
    smeared = cv2.filter2D(white, -1, weights)
    return standardize(0.8 * white + 1.3 * smeared)


@dataclass(frozen=True)
class SurfaceStyle:
    """What the defect-free surface of one class of NEU-DET looks like.

    Amplitudes are standard deviations relative to the mean grey level. All
    figures are measured on train.txt outside the annotated boxes: ``fine`` is
    what a Gaussian of 1 px removes, ``mid`` the band between Gaussians of 1
    and 6 px, ``low`` what is left.

    Attributes:
        brightness (tuple[float]): Quantiles at ``LEVELS`` of an image's
            median grey level.
        fine (float): Median amplitude of the grain.
        mid (float): Median amplitude of the mottling.
        low (float): Median amplitude of bands and illumination.
        streak (int): Length of the smear of the grain, in px.
        tilt (float): Standard deviation of the grain's direction, in radians.
        band (float): Typical distance of the rolling bands, in px.
    """

    brightness: Tuple[float, ...]
    fine: float
    mid: float
    low: float
    streak: int
    tilt: float
    band: float


SURFACES: Dict[str, SurfaceStyle] = {
    'crazing': SurfaceStyle(
        brightness=(65, 84, 120, 147, 163, 178, 191),
        fine=0.073,
        mid=0.075,
        low=0.15,
        streak=5,
        tilt=0.3,
        band=35,
    ),
    'inclusion': SurfaceStyle(
        brightness=(48, 70, 85, 101, 116, 188, 238),
        fine=0.014,
        mid=0.019,
        low=0.11,
        streak=3,
        tilt=0.2,
        band=45,
    ),
    # Brighter than the measured 168 and 169 at the median: the 255 at which
    # many real images of these two saturate hides how bright they would be.
    'patches': SurfaceStyle(
        brightness=(36, 54, 131, 180, 215, 260, 290),
        fine=0.066,
        mid=0.079,
        low=0.12,
        streak=3,
        tilt=0.4,
        band=40,
    ),
    'pitted_surface': SurfaceStyle(
        brightness=(34, 50, 130, 175, 225, 265, 280),
        fine=0.013,
        mid=0.016,
        low=0.16,
        streak=3,
        tilt=0.2,
        band=60,
    ),
    'rolled-in_scale': SurfaceStyle(
        brightness=(68, 74, 113, 128, 138, 151, 160),
        fine=0.046,
        mid=0.046,
        low=0.095,
        streak=7,
        tilt=0.3,
        band=40,
    ),
    'scratches': SurfaceStyle(
        brightness=(32, 52, 70, 83, 109, 139, 159),
        fine=0.016,
        mid=0.026,
        low=0.12,
        streak=3,
        tilt=0.1,
        band=55,
    ),
}


def steel_surface(rng: np.random.Generator, name: str) -> np.ndarray:
    """Draw a defect-free surface in the style of one class's images.

    Args:
        rng (np.random.Generator): Source of randomness.
        name (str): Key of :data:`SURFACES`.

    Returns:
        np.ndarray: (IMAGE_SIZE, IMAGE_SIZE) float32 grey levels, not clipped.
    """
    style = SURFACES[name]
    size = IMAGE_SIZE
    mean = from_quantiles(rng.random(), style.brightness)
    # Amplitudes differ by a factor of about 1.25 between a class's images
    # (the 5 and 95 percent points are 0.8 and 1.4 times the median).
    fine, mid, low = (
        amplitude * math.exp(rng.normal(0, 0.2))
        for amplitude in (style.fine, style.mid, style.low)
    )
    angle = rng.normal(0, style.tilt)
    grain = streaky_grain(rng, size, style.streak, angle)
    # 0.87 of white noise's deviation survives the 1 px high pass.
    field = fine / 0.87 * grain
    field += 0.85 * mid * smooth_noise(rng, size, size, 3, 4)
    field += 0.6 * mid * smooth_noise(rng, size, size, 9, 7)
    # Rolling bands run down the image; the light falls from one side.
    bands = smooth_noise(rng, 1, size, 1, style.band * rng.uniform(0.5, 1.5))
    field += 0.55 * low * bands
    ramp = np.linspace(-1.7, 1.7, size, dtype=np.float32)
    field += 0.75 * low * rng.normal() * ramp
    field += 0.3 * low * rng.normal() * ramp[:, None]
    field += 0.3 * low * smooth_noise(rng, size, size, 70, 60)
    return mean * np.maximum(1 + field, 0.05)
