import numpy as np
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS

from dsym.errors import InputError

from .byte_image import byte_image


@TRANSFORMS.register_module()
class RandomPhase(BaseTransform):
    """Turn some images into steel without any defect: random-phase textures.

    The phases of the image's Fourier transform are replaced by those of white
    noise (Galerne, Gousseau and Morel, "Random phase textures", 2011). Mean,
    deviation and spectrum stay, so grain and rolling direction; whatever has
    a shape or a place is gone, and the boxes with it.

    Args:
        prob (float): Share of images. Defaults to 0.1.

    Raises:
        InputError: If it is not from 0 to 1.
    """

    def __init__(self, prob: float = 0.1) -> None:
        if not 0 <= prob <= 1:
            raise InputError(
                f'RandomPhase: prob={prob} is no probability: give one from '
                '0 to 1'
            )
        self.prob = prob

    def transform(self, results: dict) -> dict:
        """Change ``img`` and empty the annotations.

        Args:
            results (dict): With ``img`` (H, W, C), uint8, the same in all
                channels, and perhaps ``gt_bboxes`` and other rows of boxes.

        Returns:
            dict: The same, or with the new image, rounded and clipped to
            0..255, and without boxes.
        """
        if np.random.random() >= self.prob:
            return results
        image = byte_image(self, results)
        results['img'] = random_phase(image)
        for key in ('gt_bboxes', 'gt_bboxes_labels', 'gt_ignore_flags'):
            if key in results:
                results[key] = results[key][:0]
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(prob={self.prob})'


def random_phase(image: np.ndarray) -> np.ndarray:
    """The texture of an image.

    Args:
        image (np.ndarray): ``(H, W, C)``, uint8; its channels' mean counts.

    Returns:
        np.ndarray: The same shape and type, grey.
    """
    grey = image.mean(2)
    # of real noise: phases of a real image, whatever its size
    noise = np.fft.rfft2(np.random.standard_normal(grey.shape))
    spectrum = np.abs(np.fft.rfft2(grey)) * noise / np.abs(noise)
    spectrum[0, 0] = grey.sum()
    texture = np.fft.irfft2(spectrum, grey.shape).round().clip(0, 255)
    return np.repeat(texture.astype(np.uint8)[..., None], image.shape[2], 2)
