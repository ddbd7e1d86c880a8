"""Channels-last memory order, where all parts of a model know it."""

from typing import Optional

import torch
from mmcv.cnn.bricks import wrappers
from torch import nn

PLAIN = (nn.Conv2d, wrappers.Conv2d)  # whose results do not depend on it


def channels_last(model: nn.Module) -> Optional[str]:
    """Order a model's weights channels last, if no part forbids it.

    A convolution with such weights returns channels-last tensors whatever its
    input's order. PyTorch's own operators compute the same from them. Those of
    mmcv (``RoIAlign``, deformable convolutions) read the memory as if it was
    channels first, and say nothing; kinds of convolution that reshape their
    weights end with an error.

    Args:
        model (nn.Module): Changed in place.

    Returns:
        str: The class that forbids it; None if the model was reordered.
    """
    for module in model.modules():
        kind = type(module)
        own_way = isinstance(module, nn.Conv2d) and kind not in PLAIN
        if own_way or kind.__module__.startswith('mmcv.ops'):
            return kind.__name__
    model.to(memory_format=torch.channels_last)
    return None
