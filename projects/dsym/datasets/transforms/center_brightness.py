from typing import Tuple

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS

from .byte_image import byte_image


@TRANSFORMS.register_module()
class CenterBrightness(BaseTransform):
    """Give every image the same mean, and in training a random contrast.

    Light differs between images more than defects differ from their
    surroundings: in NEU-DET's labelled 20% the means of images of one class
    have a standard deviation of 22 to 46 grey values, while the pixels of an
    inclusion's image have one of 12. Batch norm removes the mean of a batch,
    not that of an image.

    Pixels become ``contrast (x - mean(x)) + mean``, rounded and clipped to
    0..255.

    Args:
        mean (float): The new mean. Defaults to 114, YOLO's padding, so that
            the border of an image is no edge.
        contrast (tuple[float]): Range of the factor, drawn evenly. Defaults
            to (1.0, 1.0), none.
    """

    def __init__(
        self, mean: float = 114.0, contrast: Tuple[float, float] = (1.0, 1.0)
    ) -> None:
        self.mean = mean
        self.contrast = contrast

    def transform(self, results: dict) -> dict:
        """Change ``img``.

        Args:
            results (dict): With ``img`` (H, W, C), uint8.

        Returns:
            dict: The same with the new image.
        """
        image = byte_image(self, results)
        factor = np.random.uniform(*self.contrast)
        table = factor * (np.arange(256) - image.mean()) + self.mean
        table = np.rint(table).clip(0, 255).astype(np.uint8)
        results['img'] = cv2.LUT(image, table)
        return results

    def __repr__(self) -> str:
        return (
            f'{type(self).__name__}(mean={self.mean}, '
            f'contrast={self.contrast})'
        )
