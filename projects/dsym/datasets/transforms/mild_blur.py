from typing import Tuple

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS

from dsym.errors import InputError

#: Side of the kernel in px: 4 sigma on both sides of the widest one.
KERNEL_SIZE = 7


def line_contrast(sigma: float) -> float:
    """Share of its contrast that a line 1 px wide keeps in a blur.

    Across the line a Gaussian blur is a convolution with ``exp(-i^2 / (2
    sigma^2))`` of sum 1, so its centre weight remains: 0.66 at 0.6 px, 0.56
    at 0.7, 0.50 at 0.79, 0.40 at 1.

    Args:
        sigma (float): Standard deviation of the blur, in px.

    Returns:
        float: In (0, 1].
    """
    return float(cv2.getGaussianKernel(KERNEL_SIZE, sigma).max())


@TRANSFORMS.register_module()
class MildBlur(BaseTransform):
    """Gaussian blur of a lens out of focus that a hairline scratch survives.

    Args:
        sigma (tuple[float]): Range of the standard deviation in px, drawn
            evenly. Defaults to (0.1, 0.7); 0.1 changes nothing.

    Raises:
        InputError: If the range is empty or reaches 0, or takes more than
            half of its contrast from a line 1 px wide.
    """

    def __init__(self, sigma: Tuple[float, float] = (0.1, 0.7)) -> None:
        if not 0 < sigma[0] <= sigma[1]:
            raise InputError(
                f'MildBlur: sigma={sigma} is no range of positive numbers: '
                'give (low, high), such as (0.1, 0.7)'
            )
        if line_contrast(sigma[1]) < 0.5:
            raise InputError(
                f'MildBlur: sigma={sigma} leaves a scratch 1 px wide '
                f'{line_contrast(sigma[1]):.0%} of its contrast: give an '
                'upper end of 0.79 or less'
            )
        self.sigma = sigma

    def transform(self, results: dict) -> dict:
        """Change ``img``.

        Args:
            results (dict): With ``img`` (H, W, C), uint8.

        Returns:
            dict: The same with the new image.
        """
        results['img'] = cv2.GaussianBlur(
            results['img'],
            (KERNEL_SIZE, KERNEL_SIZE),
            np.random.uniform(*self.sigma),
        )
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(sigma={self.sigma})'
