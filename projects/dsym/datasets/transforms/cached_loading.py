import math
import os
from functools import lru_cache
from typing import Dict, Optional, Tuple, Union

import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmengine.registry import TRANSFORMS
from torch.utils.data import get_worker_info

from ...available_memory import available_memory, local_processes
from ...errors import InputError

GB = 1e9
# Of this process: a mosaic's own loader and the pipeline's share them.
_STORES: Dict[Tuple, Dict[str, np.ndarray]] = {}


@lru_cache(maxsize=1)
def memory_share(pid: int) -> float:
    """The part of the memory that images of one process may take.

    Half of what is available, by the loader's workers and by the training
    processes of the machine; 1 GB where the system does not tell.

    Args:
        pid (int): Of this process: a worker does not take over what its
            parent has read.

    Returns:
        float: Bytes.
    """
    available = available_memory()
    if math.isinf(available):
        return GB
    worker = get_worker_info()
    workers = 1 if worker is None else worker.num_workers
    return available / 2 / workers / local_processes()


@TRANSFORMS.register_module()
class LoadCachedImageFromFile(LoadImageFromFile):
    """Load an image and keep its pixels for the next time.

    A mosaic asks for four images, and few images are asked for in every
    epoch. Each worker of a loader has a memory of its own, which lives as
    long as the worker: set ``persistent_workers``.

    Args:
        max_gb (float or str): Pixels that are kept, in GB a process; 1 GB is
            8,000 images of 200 x 200 px. What does not fit is read from its
            file each time. Defaults to 'auto': a worker takes its share of
            half of the memory that is available at its first image
            (:func:`memory_share`).
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

    def limit(self) -> float:
        """Bytes that may be kept in this process."""
        if self.max_gb == 'auto':
            return memory_share(os.getpid())
        return self.max_gb * GB

    def store(self) -> Dict[str, np.ndarray]:
        """The images kept so far that were decoded with these options."""
        key = (self.color_type, self.imdecode_backend, self.to_float32)
        return _STORES.setdefault(key, {})

    def transform(self, results: dict) -> Optional[dict]:
        """Load one image.

        Args:
            results (dict): With ``img_path``.

        Returns:
            dict: With ``img`` (H, W, C), which the caller may change,
            ``img_shape`` and ``ori_shape``, each (height, width).
        """
        store, path = self.store(), results['img_path']
        image = store.get(path)
        if image is None:
            results = super().transform(results)
            # Images of a data set are alike: their number stands for bytes.
            if results is not None:
                image = results['img']
                if (len(store) + 1) * image.nbytes <= self.limit():
                    store[path] = image.copy()
            return results
        results['img'] = image.copy()
        results['img_shape'] = image.shape[:2]
        results['ori_shape'] = image.shape[:2]
        return results
