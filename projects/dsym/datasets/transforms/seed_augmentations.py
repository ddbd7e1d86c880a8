import random

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.registry import TRANSFORMS


@TRANSFORMS.register_module()
class SeedAugmentations(BaseTransform):
    """Draw a sample's augmentations from its own seed.

    The first transform of a pipeline. If the index in ``sample_idx`` has a
    ``seed``, it seeds ``random``, ``np.random`` and ``torch``: what follows
    depends on that seed alone, not on which worker loads the sample nor on
    what it loaded before, so a resumed training sees what an unbroken one
    would have seen. A plain index leaves all generators as they are.

    Without workers these are the training process's own generators, and its
    dropout then starts anew after each sample.
    """

    def transform(self, results: dict) -> dict:
        """Seed the generators.

        Args:
            results (dict): With ``sample_idx`` (int), whose ``seed``, if any,
                is an int in [0, 2^32) and already well mixed.

        Returns:
            dict: The same.
        """
        seed = getattr(results['sample_idx'], 'seed', None)
        if seed is not None:
            random.seed(seed)
            np.random.seed(seed)
            torch.manual_seed(seed)
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}()'
