"""CLIP models of open_clip so small that they are built in a moment."""

from typing import Sequence

import numpy as np
import torch
from PIL import Image

from dsym.clip import LoadedCLIP, build_clip

SIZE = 64
TEXT = dict(context_length=24, width=16, heads=2, layers=1)
RESNET = dict(
    embed_dim=16,
    vision_cfg=dict(
        image_size=SIZE, layers=[1, 1, 1, 1], width=8, head_width=16
    ),
    text_cfg=TEXT,
)
VIT = dict(
    embed_dim=16,
    vision_cfg=dict(
        image_size=SIZE, layers=1, width=32, head_width=16, patch_size=16
    ),
    text_cfg=TEXT,
)


def tiny_clip(model_cfg: dict = RESNET, seed: int = 0) -> LoadedCLIP:
    """Random weights, always the same, in evaluation mode."""
    torch.manual_seed(seed)
    return build_clip(dict(model_cfg=model_cfg)).eval()


def write_images(
    folder, count: int = 3, height: int = 96, width: int = 80
) -> Sequence[str]:
    """Write lossless images of coarse random squares.

    Args:
        folder (Path): Where.
        count (int): How many.
        height (int): A multiple of 16.
        width (int): A multiple of 16.

    Returns:
        Sequence[str]: Their paths.
    """
    paths = []
    for i in range(count):
        rng = np.random.default_rng(i)
        # from dark to bright: what untrained towers tell apart
        top = 60 + 190 * (i + 1) // count
        cells = rng.integers(0, top, (height // 16, width // 16, 3))
        pixels = cells.astype(np.uint8).repeat(16, 0).repeat(16, 1)
        paths.append(str(folder / f'{i}.png'))
        Image.fromarray(pixels).save(paths[-1])
    return paths


def pixels_of(path: str) -> torch.Tensor:
    """An image ``(3, H, W)``, RGB from 0 to 255, as PIL reads it."""
    array = np.array(Image.open(path).convert('RGB'))
    return torch.from_numpy(array).permute(2, 0, 1).float()
