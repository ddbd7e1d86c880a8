from typing import Dict, Optional, Tuple

import numpy as np
from mmcv.transforms import LoadImageFromFile
from mmengine.registry import TRANSFORMS

# Of this process: a mosaic's own loader and the pipeline's share them.
_STORES: Dict[Tuple, Dict[str, np.ndarray]] = {}


@TRANSFORMS.register_module()
class LoadCachedImageFromFile(LoadImageFromFile):
    """Load an image and keep its pixels for the next time.

    A mosaic asks for four images, and few images are asked for in every
    epoch. Each worker of a loader has a memory of its own, which lives as
    long as the worker: set ``persistent_workers``.

    Args:
        max_gb (float): Pixels that are kept, in GB a process. What does not
            fit is read from its file each time. Defaults to 1.0, which is
            8,000 images of 200 x 200 px.
        **kwargs: As in ``mmcv.LoadImageFromFile``.
    """

    def __init__(self, max_gb: float = 1.0, **kwargs) -> None:
        super().__init__(**kwargs)
        self.max_gb = max_gb

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
                if (len(store) + 1) * image.nbytes <= self.max_gb * 1e9:
                    store[path] = image.copy()
            return results
        results['img'] = image.copy()
        results['img_shape'] = image.shape[:2]
        results['ori_shape'] = image.shape[:2]
        return results
