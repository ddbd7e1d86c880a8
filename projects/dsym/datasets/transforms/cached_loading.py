import math
from typing import Dict, Optional, Tuple, Union

import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmengine.registry import TRANSFORMS

from ...available_memory import available_memory
from ...errors import InputError

GB = 1e9


# How long a reading of the available memory serves. It takes 0.3 ms with
# control groups, a 200 px image 0.4 ms to decode. Workers that keep images at
# once pass their common limit by 16 MB each, or an image.
FILES_A_READING = 64
BYTES_A_READING = 16e6


class PixelStore(Dict[Tuple, np.ndarray]):
    """Images by their decoding options and path.

    Attributes:
        nbytes (int): Of all of them.
    """

    def __init__(self) -> None:
        super().__init__()
        self.nbytes = 0
        self._read = 0.0  # bytes available, with these kept:
        self._nbytes_then = 0
        self._files_left = 0

    def keep(self, key: Tuple, image: np.ndarray) -> None:
        """Keep a copy of an image that is not in it yet.

        Args:
            key (tuple): What it is found by.
            image (np.ndarray): Its pixels.
        """
        self[key] = image.copy()
        self.nbytes += image.nbytes

    def available(self) -> float:
        """Ask, before a file's image is kept, for the memory there is.

        Returns:
            float: Bytes, without what was kept since they were read; infinite
            where the system does not tell.
        """
        taken = self.nbytes - self._nbytes_then
        if not self._files_left or taken > BYTES_A_READING:
            self._read = available_memory()
            self._nbytes_then, taken = self.nbytes, 0
            self._files_left = FILES_A_READING
        self._files_left -= 1
        return self._read - taken


# Of this process: a mosaic's own loader and the pipeline's share it.
_STORE = PixelStore()


@TRANSFORMS.register_module()
class LoadCachedImageFromFile(LoadImageFromFile):
    """Load an image and keep its pixels for the next time.

    A mosaic asks for four images, and few images are asked for in every
    epoch. Each worker of a loader has a memory of its own, which lives as
    long as the worker: set ``persistent_workers``.

    Args:
        max_gb (float or str): Pixels that a process keeps, in GB, by all its
            transforms of this class; 1 GB is 8,000 images of 200 x 200 px.
            Every worker of every loader is such a process. What does not fit
            is read from its file each time. Defaults to 'auto': images are
            kept while at least half of the memory is left that was available
            when the pipeline was built, whoever takes it: other workers,
            loaders and processes, or the training itself. 1 GB where the
            system does not tell.
        **kwargs: As in ``mmcv.LoadImageFromFile``.

    Raises:
        InputError: If ``max_gb`` is neither 'auto' nor a number from 0 on.
    """

    def __init__(self, max_gb: Union[float, str] = 'auto', **kwargs) -> None:
        super().__init__(**kwargs)
        if max_gb != 'auto' and not (
            isinstance(max_gb, (int, float)) and max_gb >= 0
        ):
            raise InputError(
                f"LoadCachedImageFromFile: max_gb={max_gb!r}: give 'auto' or "
                'a number of GB from 0 on'
            )
        self.max_gb = max_gb
        # Here and not at the first image: the loaders of a run are built
        # together, and the later ones' workers start when memory is less.
        self.reserve = available_memory() / 2

    def fits(self, nbytes: int) -> bool:
        """Whether one more image may be kept.

        Args:
            nbytes (int): Of the image.

        Returns:
            bool: If it is within the limit.
        """
        if self.max_gb == 'auto' and math.isfinite(self.reserve):
            return _STORE.available() - nbytes >= self.reserve
        limit = GB if self.max_gb == 'auto' else self.max_gb * GB
        return _STORE.nbytes + nbytes <= limit

    def transform(self, results: dict) -> Optional[dict]:
        """Load one image.

        Args:
            results (dict): With ``img_path``.

        Returns:
            dict: With ``img`` (H, W, C), which the caller may change,
            ``img_shape`` and ``ori_shape``, each (height, width).
        """
        key = (
            self.color_type,
            self.imdecode_backend,
            self.to_float32,
            results['img_path'],
        )
        image = _STORE.get(key)
        if image is None:
            results = super().transform(results)
            if results is not None and self.fits(results['img'].nbytes):
                _STORE.keep(key, results['img'])
            return results
        results['img'] = image.copy()
        results['img_shape'] = image.shape[:2]
        results['ori_shape'] = image.shape[:2]
        return results
