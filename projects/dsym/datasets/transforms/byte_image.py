import numpy as np
from mmcv.transforms import BaseTransform

from dsym.errors import InputError


def byte_image(step: BaseTransform, results: dict) -> np.ndarray:
    """The image of a step that reckons with grey values from 0 to 255.

    Args:
        step (BaseTransform): Which.
        results (dict): With ``img``.

    Returns:
        np.ndarray: ``(H, W, C)``, uint8.

    Raises:
        InputError: If it is none.
    """
    image = results['img']
    if image.dtype == np.uint8 and image.ndim == 3:
        return image
    raise InputError(
        f'{type(step).__name__}: the image is {image.dtype} '
        f'{image.shape}, not uint8 (H, W, C): put the step before those that '
        'make floats (PhotoMetricDistortion), and load without to_float32 and '
        "with color_type='color'"
    )
