from typing import Tuple

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS

from dsym.errors import InputError

from .byte_image import byte_image


@TRANSFORMS.register_module()
class SensorNoise(BaseTransform):
    """Add Gaussian noise, the same to all channels: grey stays grey.

    Args:
        sigma (tuple[float]): Range of the standard deviation, in grey
            values, drawn evenly for each image. Defaults to (0.0, 4.0).

    Raises:
        InputError: If the range is empty or negative.
    """

    def __init__(self, sigma: Tuple[float, float] = (0.0, 4.0)) -> None:
        if not 0 <= sigma[0] <= sigma[1]:
            raise InputError(
                f'SensorNoise: sigma={sigma} is no range of standard '
                'deviations: give (low, high), such as (0.0, 4.0)'
            )
        self.sigma = sigma

    def transform(self, results: dict) -> dict:
        """Change ``img``.

        Args:
            results (dict): With ``img`` (H, W, C), uint8.

        Returns:
            dict: The same with the new image, rounded and clipped to 0..255.
        """
        image = byte_image(self, results)
        height, width, channels = image.shape
        sigma = np.random.uniform(*self.sigma)
        # np.random's own normal() takes three times as long.
        rng = np.random.default_rng(np.random.randint(2**32, dtype=np.uint32))
        noise = rng.standard_normal((height, width), np.float32)
        noise = cv2.merge([sigma * noise] * channels)
        results['img'] = cv2.add(image, noise, dtype=cv2.CV_8U)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(sigma={self.sigma})'
