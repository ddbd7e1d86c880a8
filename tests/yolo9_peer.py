"""The official YOLOv9 code (PyPI ``yolo9``) as a test-only peer."""

import importlib
from logging import FileHandler
from pathlib import Path
from typing import Tuple

import torch
import torch.nn as nn
from mmengine.logging import MMLogger
from peers.official_yolov9 import find_official
from require_peer import require_peer

HYP = dict(
    box=7.5, cls=0.5, dfl=1.5, cls_pw=1.0, fl_gamma=0.0, label_smoothing=0.0
)


def require_yolo9() -> Path:
    """Make the official modules importable and return their folder."""
    root = require_peer(find_official(), 'yolo9')
    importlib.import_module('utils.general')
    # which configures logging and so closes the files of all other loggers
    logger = MMLogger.get_current_instance()
    for handler in [*logger.handlers]:
        if isinstance(handler, FileHandler) and handler.stream is None:
            logger.removeHandler(handler)
    return root


def build_official(name: str, num_classes: int = 80) -> nn.Module:
    """Build e.g. ``yolov9-t`` or ``gelan-c`` with random weights.

    The batch statistics are random as well, so that an exchange of two
    normalization layers cannot go unseen.
    """
    root = require_yolo9()
    from models.yolo import DetectionModel

    cfg = root / 'models' / 'detect' / f'{name}.yaml'
    model = DetectionModel(str(cfg), ch=3, nc=num_classes)
    model.hyp = HYP
    generator = torch.Generator().manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor, low, high in (
                (module.running_mean, -0.1, 0.1),
                (module.running_var, 0.8, 1.25),
                (module.weight.data, 0.8, 1.25),
                (module.bias.data, -0.1, 0.1),
            ):
                tensor.copy_(
                    torch.empty_like(tensor).uniform_(
                        low, high, generator=generator
                    )
                )
    return model


def official_loss(
    model: nn.Module, images: torch.Tensor, targets: torch.Tensor
) -> Tuple[torch.Tensor, torch.Tensor]:
    """Total loss times the batch size, and (box, class, dfl) of the batch.

    Args:
        model (nn.Module): A dual (auxiliary and main) official model.
        images (Tensor): Shape ``(B, 3, H, W)``, in [0, 1].
        targets (Tensor): Rows of image index, class, cx, cy, w, h in [0, 1].
    """
    require_yolo9()
    from utils.loss_tal_dual import ComputeLoss

    return ComputeLoss(model)(model(images), targets)
