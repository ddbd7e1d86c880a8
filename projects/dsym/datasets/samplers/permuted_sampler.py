from typing import Iterator, Optional

from mmengine.dist import get_dist_info, sync_random_seed
from mmengine.registry import DATA_SAMPLERS
from torch.utils.data import Dataset, Sampler

ROUNDS = 4  # of a Feistel network; from 4 on it is as good as any (Luby, 1988)
MASK = (1 << 64) - 1


def mix(value: int, key: int) -> int:
    """Scramble 64 bits (splitmix64)."""
    value = (value + key * 0x9E3779B97F4A7C15) & MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & MASK
    return value ^ (value >> 31)


def permuted(index: int, size: int, seed: int) -> int:
    """Where a random permutation puts an index, computed for it alone.

    A Feistel network permutes the numbers of an even number of bits; what
    falls out of range is permuted again until it is in it.

    Args:
        index (int): From 0 to ``size - 1``.
        size (int): Of what is permuted.
        seed (int): Of the permutation.

    Returns:
        int: From 0 to ``size - 1``.
    """
    half = max(1, ((size - 1).bit_length() + 1) // 2)
    mask = (1 << half) - 1
    while True:
        left, right = index >> half, index & mask
        for number in range(ROUNDS):
            scrambled = mix(right, seed * ROUNDS + number + 1) & mask
            left, right = right, left ^ scrambled
        index = left << half | right
        if index < size:
            return index


@DATA_SAMPLERS.register_module()
class PermutedSampler(Sampler):
    """A shuffled pass that needs no list of all indices.

    Every rank takes each ``world_size``-th place of one permutation, which
    differs from pass to pass.

    Args:
        dataset (Dataset): Of any size.
        shuffle (bool): False takes the images as they come. Defaults to True.
        seed (int, optional): The same for every rank. Defaults to None, one
            for all.

    Attributes:
        epoch (int): The pass, set by :meth:`set_epoch`.
        first (int): Where the next iteration begins, for a run that goes on
            in the middle of a pass. Used once.
    """

    first = 0

    def __init__(
        self,
        dataset: Dataset,
        shuffle: bool = True,
        seed: Optional[int] = None,
    ) -> None:
        self.rank, self.world_size = get_dist_info()
        self.dataset = dataset
        self.shuffle = shuffle
        self.seed = sync_random_seed() if seed is None else seed
        self.epoch = 0

    def __iter__(self) -> Iterator[int]:
        """Indices of this rank's part of a pass."""
        first, self.first = self.first, 0
        size = len(self.dataset)
        seed = mix(self.seed, self.epoch + 1)
        for place in range(first, len(self)):
            # the last ranks begin anew where the images do not go round
            index = (place * self.world_size + self.rank) % size
            yield permuted(index, size, seed) if self.shuffle else index

    def __len__(self) -> int:
        """Places of this rank in a pass."""
        return -(-len(self.dataset) // self.world_size)

    def set_epoch(self, epoch: int) -> None:
        """Choose the permutation of a pass."""
        self.epoch = epoch
