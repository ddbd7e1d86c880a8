"""Painters of the six NEU-DET defects.

A painter returns the *opacity* of one defect on a patch of its own, between 0
and 1, (height, width) float32; the image is darkened or brightened by it.
"""

import cv2
import numpy as np

from .steel_textures import smooth_noise, standardize


def ramp(field: np.ndarray, low: float, high: float) -> np.ndarray:
    """Rise from 0 at ``low`` to 1 at ``high`` as a smooth cubic step."""
    t = np.clip((field - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def depth_inside(height: int, width: int, power: float) -> np.ndarray:
    """Distance from the rim of a superellipse, 1 in its centre, 0 outside.

    Args:
        height (int): Height, in px.
        width (int): Width, in px.
        power (float): 2 is an ellipse; the larger, the more of a rectangle.

    Returns:
        np.ndarray: (height, width) float32.
    """
    y = np.abs(np.linspace(-1, 1, height, dtype=np.float32))[:, None] ** power
    x = np.abs(np.linspace(-1, 1, width, dtype=np.float32)) ** power
    return np.maximum(1 - (x + y) ** (1 / power), 0)


def crazing(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Draw a net of thin cracks that wander from left to right."""
    count = max(3, round(height * width / rng.uniform(220, 450)))
    steps = 16
    start = rng.uniform((2, 2), (width - 2, height - 2), (count, 2))
    heading = rng.normal(0, 0.35, (count, 1))
    heading = heading + np.cumsum(rng.normal(0, 0.2, (count, steps)), 1)
    heading += rng.normal(0, 0.75, (count, steps))
    step = rng.uniform(0.8, 3.0, (count, 1))
    track = np.stack([np.cos(heading), np.sin(heading)], -1) * step[..., None]
    track = start[:, None] + np.cumsum(track, 1) - track.sum(1)[:, None] / 2
    opacity = np.zeros((height, width), np.uint8)
    shift = 4
    fixed = np.round(track * 2**shift).astype(np.int32)
    for points, level in zip(fixed, rng.uniform(60, 255, count)):
        cv2.polylines(opacity, [points], False, level, 1, cv2.LINE_AA, shift)
    opacity = cv2.GaussianBlur(opacity.astype(np.float32) / 255, (0, 0), 0.8)
    thickness = smooth_noise(rng, height, width, 4, 6)
    crowd = smooth_noise(rng, height, width, 22, 30)
    return np.clip(opacity * (1.5 + 0.6 * thickness + 0.35 * crowd), 0, 1)


def inclusion(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Draw one to five dark spindles, frayed along the rolling direction."""
    y = np.arange(height, dtype=np.float32)[:, None]
    x = np.arange(width, dtype=np.float32)
    fibre = smooth_noise(
        rng, height, width, rng.uniform(8, 22), rng.uniform(1.5, 2.8)
    )
    fray = rng.uniform(0.1, 0.45)
    soft = rng.uniform(0.6, 1.3)
    opacity = np.zeros((height, width), np.float32)
    for _ in range(1 + rng.poisson(height * width / 1800)):
        half_width = width * rng.uniform(0.15, 0.48)
        half_height = height * rng.uniform(0.3, 0.5)
        cx = rng.uniform(half_width, width - half_width)
        cy = rng.uniform(half_height, height - half_height)
        sway = 0.12 * width * smooth_noise(rng, height, 1, 30, 1)
        r2 = ((x - cx - sway) / half_width) ** 2
        r2 = r2 + ((y - cy) / half_height) ** 2
        inside = np.maximum(1 - r2, 0)
        field = inside + fray * fibre * np.sqrt(inside)
        opacity = np.maximum(opacity, ramp(field, 0.1, 0.1 + soft))
    return opacity


def patches(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Draw a dark blotch with a ragged, smooth-edged outline."""
    depth = depth_inside(height, width, rng.uniform(1.9, 3))
    lobes = smooth_noise(rng, height, width, height / 3.5 + 4, width / 3.5 + 4)
    rags = smooth_noise(rng, height, width, 5, 5)
    # The noise fades towards the rim, so no straight edge is ever cut.
    field = depth * np.maximum(1 + 0.55 * lobes, 0)
    field += 0.07 * rags * ramp(depth, 0.0, 0.25)
    body = ramp(field, 0.0, rng.uniform(0.25, 0.6))
    inside = smooth_noise(rng, height, width, 14, 12)
    return body * np.clip(0.88 + 0.1 * inside, 0.5, 1)


def pitted_surface(
    rng: np.random.Generator, height: int, width: int
) -> np.ndarray:
    """Draw a wide field of small pits, denser here and there."""
    size = rng.uniform(1.5, 3.2)
    pits = smooth_noise(rng, height, width, size * 1.3, size)
    # Pits lean: the field is sheared, and mirrored where nothing is left.
    shear = np.float32([[1, rng.uniform(-0.5, 0.5), 0], [0, 1, 0]])
    pits = standardize(
        cv2.warpAffine(
            pits, shear, (width, height), borderMode=cv2.BORDER_REFLECT
        )
    )
    crowd = smooth_noise(rng, height, width, 50, 30)
    depth = depth_inside(height, width, 8)
    # Fine pits stand close, coarse ones apart.
    level = rng.uniform(-0.3, 0.7) + 0.5 * (size - 1.5) - 0.3 * crowd
    fade = np.clip(0.8 + 0.2 * crowd, 0.4, 1)
    return ramp(pits - level, 0, 2.2) * fade * ramp(depth, 0, 0.06)


def rolled_in_scale(
    rng: np.random.Generator, height: int, width: int
) -> np.ndarray:
    """Draw a cluster of short, flat, blurred flecks."""
    size = rng.uniform(2.8, 4.4)
    flecks = smooth_noise(rng, height, width, size * 0.85, size * 1.8)
    crowd = smooth_noise(rng, height, width, 16, 14)
    depth = depth_inside(height, width, 3)
    level = rng.uniform(0.8, 1.3) - 0.55 * crowd - 0.5 * depth
    return ramp(flecks - level, 0, 1.7) * ramp(depth, 0, 0.15)


def scratches(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Draw a bundle of bright parallel lines along the longer side."""
    long, short = max(height, width), min(height, width)
    along = np.linspace(0, 1, long, dtype=np.float32)[:, None]
    across = np.arange(short, dtype=np.float32)
    # The bundle leans a little, so that its box is wider than its lines.
    lean = rng.uniform(-0.5, 0.5) * min(max(short - 6, 0), 24)
    room = max(short - 4 - abs(lean), 2)
    count = rng.integers(1, 2 + int(min(room / 4, 6)))
    centre = short / 2 + lean * (along - 0.5)
    centre = centre + 0.35 * smooth_noise(rng, long, 1, 25, 1)
    opacity = np.zeros((long, short), np.float32)
    for offset in rng.uniform(-room / 2, room / 2, count):
        half = rng.uniform(0.7, 0.7 + room / (1.8 * count))
        gap = np.abs(across - centre - offset) / half
        line = np.exp(-(np.minimum(gap, 6) ** rng.uniform(2, 4)))
        glow = 0.75 + 0.3 * smooth_noise(rng, long, 1, rng.uniform(4, 30), 1)
        glow = glow * ramp(np.minimum(along, 1 - along), 0, 0.04)
        opacity = np.maximum(opacity, line * np.clip(glow, 0, 1))
    scuff = smooth_noise(rng, long, short, 7, 1.6)
    opacity = np.clip(opacity * (1 + 0.22 * scuff), 0, 1)
    return opacity if height >= width else np.ascontiguousarray(opacity.T)
