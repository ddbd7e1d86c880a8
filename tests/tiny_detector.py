"""An untrained YOLOv9-t at 64 px whose scores are those of its seed."""

from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from tiny_run import write_config

from dsym.datasets import CLASSES

CONFIGS = Path(__file__).resolve().parents[1] / 'configs'


def write_detector(folder, classes=CLASSES):
    """Write a config and a checkpoint.

    Args:
        folder (Path): Where.
        classes (Sequence[str]): As the checkpoint calls them.

    Returns:
        dict[str, str]: ``config`` and ``checkpoint``.
    """
    path = write_config(folder, CONFIGS)
    # an untrained head scores all boxes near 0
    path.write_text(
        path.read_text()
        + 'model.update(test_cfg=dict(score_thr=0.0, max_per_img=20))\n'
    )
    config = Config.fromfile(path)
    init_default_scope(config.default_scope)
    torch.manual_seed(0)
    model = MODELS.build(config.model)
    model.init_weights()
    checkpoint = folder / 'detector.pth'
    torch.save(
        dict(
            state_dict=model.state_dict(),
            meta=dict(dataset_meta=dict(classes=[*classes])),
        ),
        checkpoint,
    )
    return dict(config=str(path), checkpoint=str(checkpoint))
