from typing import Tuple

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS

from dsym.errors import InputError

from .byte_image import byte_image


@TRANSFORMS.register_module()
class RandomGamma(BaseTransform):
    """Another response of the camera: ``255 (x / 255) ** gamma``.

    Dark pixels change their contrast by another factor than bright ones,
    which no factor of ``CenterBrightness`` does, and their order stays. Put
    it before ``CenterBrightness``, as it moves the mean.

    Args:
        gamma (tuple[float]): Range of the exponent, drawn evenly in its
            logarithm. Defaults to (0.8, 1.25).

    Raises:
        InputError: If the range is empty or reaches 0.
    """

    def __init__(self, gamma: Tuple[float, float] = (0.8, 1.25)) -> None:
        if not 0 < gamma[0] <= gamma[1]:
            raise InputError(
                f'RandomGamma: gamma={gamma} is no range of positive numbers: '
                'give (low, high), such as (0.8, 1.25)'
            )
        self.gamma = gamma

    def transform(self, results: dict) -> dict:
        """Change ``img``.

        Args:
            results (dict): With ``img`` (H, W, C), uint8.

        Returns:
            dict: The same with the new image.
        """
        image = byte_image(self, results)
        gamma = np.exp(np.random.uniform(*np.log(self.gamma)))
        table = 255 * (np.arange(256) / 255) ** gamma
        results['img'] = cv2.LUT(image, np.rint(table).astype(np.uint8))
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(gamma={self.gamma})'
