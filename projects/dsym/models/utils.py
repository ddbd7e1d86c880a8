import torch.nn as nn


def init_like_torch(module: nn.Module) -> None:
    """Give every convolution torch's own initialization.

    mmcv's ``ConvModule`` starts its convolutions with Kaiming's normal
    distribution for ReLU; YOLOv9 is trained from torch's default, Kaiming's
    uniform distribution with ``a = sqrt(5)``.

    Args:
        module (nn.Module): Initialized in place, with all it contains.
    """
    for m in module.modules():
        if isinstance(m, nn.Conv2d):
            m.reset_parameters()
