import logging
from typing import Any, Iterator

import numpy as np
from mmengine.dataset import ClassBalancedDataset, DefaultSampler
from mmengine.logging import print_log
from mmengine.registry import DATA_SAMPLERS
from torch.utils.data import Dataset

from ..nested import nested


class SeededIndex(int):
    """Index of a sample, with a seed for its augmentations.

    Attributes:
        seed (int): 32 bits.
    """

    seed: int

    def __new__(cls, index: int, seed: int) -> 'SeededIndex':
        new = super().__new__(cls, index)
        new.seed = seed
        return new

    def __sub__(self, other: int) -> 'SeededIndex':
        """The index inside a part of a ``ConcatDataset``."""
        return SeededIndex(int(self) - other, self.seed)

    def __mod__(self, other: int) -> 'SeededIndex':
        """The index inside a ``RepeatDataset``."""
        return SeededIndex(int(self) % other, self.seed)

    def __getnewargs__(self) -> tuple:
        """What a worker makes its copy of."""
        return int(self), self.seed


@DATA_SAMPLERS.register_module()
class SeededSampler(DefaultSampler):
    """mmengine's ``DefaultSampler`` whose passes can be repeated exactly.

    Every index brings a seed made of the run's seed, the pass and the place in
    it. ``SeedAugmentations``, first in the pipeline, takes it from
    ``sample_idx``: a sample is then the same whatever worker makes it, and
    whether or not the run was interrupted before. Worker processes alone
    could not promise that, because nothing saves their random states.

    Attributes:
        epoch (int): The pass, set by :meth:`set_epoch`.
        first (int): Where the next iteration begins, for a run that goes on
            in the middle of a pass. Used once.
    """

    first = 0

    def __init__(self, dataset: Dataset, *args: Any, **kwargs: Any) -> None:
        super().__init__(dataset, *args, **kwargs)
        if any(isinstance(x, ClassBalancedDataset) for x in nested(dataset)):
            print_log(
                'SeededSampler: ClassBalancedDataset looks its images up by '
                'a plain number, so their augmentations have no seed: a '
                'resumed run will draw others than one without a break',
                'current',
                logging.WARNING,
            )

    def __iter__(self) -> Iterator[SeededIndex]:
        """Indices of this rank's part of a pass."""
        first, self.first = self.first, 0
        # with the size, or two loaders of a run would have the same seeds
        seeds = self.seed, len(self.dataset), self.epoch, self.rank
        for place, index in enumerate(super().__iter__()):
            if place >= first:
                seed = np.random.SeedSequence([*seeds, place]).generate_state(
                    1
                )[0]
                yield SeededIndex(index, int(seed))
