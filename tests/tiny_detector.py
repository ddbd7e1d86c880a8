"""A random detector at 64 px whose scores lie well apart, as files."""

from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from tiny_run import write_config
from torch import nn

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'
CLASSES = tuple('abcdef')


class Tiny(NamedTuple):
    """Paths as a command line gives them."""

    config: str
    checkpoint: str


def write_detector(folder, mamba=False, max_per_img=5):
    """Write config and checkpoint.

    Args:
        folder (Path): Where they go.
        mamba (bool): With MambaHead and its confidence.
        max_per_img (int): Detections an image.

    Returns:
        Tiny: Both paths.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = Config.fromfile(write_config(folder, CONFIGS))
    config.model.test_cfg.max_per_img = max_per_img
    # without the auxiliary branch, which costs time
    config.model.backbone.with_aux = config.model.neck.with_aux = False
    config.model.bbox_head.aux_head_module = None
    if mamba:
        config.model.bbox_head.type = 'MambaHead'
        config.model.bbox_head.head_module.update(
            type='MambaHeadModule',
            with_confidence=True,
            scan='bidirectional',  # the quickest to trace
            scan_levels=[1],
        )
    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope('mmyolo'):
        model = MODELS.build(config.model)
    model.init_weights()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.weight.data.uniform_(0.5, 2)
    for name, parameter in model.named_parameters():
        if '_scans.' in name and name.endswith('out_proj.weight'):
            nn.init.normal_(parameter)
    for branch in model.bbox_head.head_module.cls_preds:
        nn.init.normal_(branch[-1].weight)
        nn.init.zeros_(branch[-1].bias)
    config.dump(str(folder / 'detector.py'))
    content = dict(
        state_dict=model.state_dict(),
        meta=dict(dataset_meta=dict(classes=CLASSES)),
    )
    torch.save(content, folder / 'detector.pth')
    return Tiny(str(folder / 'detector.py'), str(folder / 'detector.pth'))


def picture(width=50, height=30, seed=0):
    """Squares of random grey values, ``(height, width, 3)``."""
    rng = np.random.default_rng(seed)
    cells = rng.integers(0, 256, (-(-height // 10), -(-width // 10), 3))
    pixels = cells.astype(np.uint8).repeat(10, 0).repeat(10, 1)
    return pixels[:height, :width]


def write_pictures(folder, names, **size):
    """Write a picture under each name, no two alike, without loss."""
    for seed, name in enumerate(names):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), picture(seed=seed, **size))
    return folder


def write_video(path, frames=6, fps=5.0):
    """Write a video of 64 x 48 px."""
    stream = cv2.VideoWriter(
        str(path), cv2.VideoWriter_fourcc(*'mp4v'), fps, (64, 48)
    )
    for seed in range(frames):
        stream.write(picture(64, 48, seed))
    stream.release()
    return path
