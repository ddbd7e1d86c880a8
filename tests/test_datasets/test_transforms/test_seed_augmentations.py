"""SeedAugmentations: a sample's random numbers are those of its seed."""

import random

import numpy as np
import torch
from mmengine.registry import TRANSFORMS


class SeededIndex(int):
    seed: int


def seeded(index, seed):
    index = SeededIndex(index)
    index.seed = seed
    return index


def draw():
    return random.random(), np.random.random(), torch.rand(()).item()


def draw_for(sample_idx):
    transform = TRANSFORMS.build(dict(type='SeedAugmentations'))
    results = dict(sample_idx=sample_idx, img_path='a')
    assert transform(results) == dict(sample_idx=sample_idx, img_path='a')
    return draw()


def test_the_seed_decides_alone():
    first = draw_for(seeded(3, 7))
    draw()  # another sample in between
    assert draw_for(seeded(4, 7)) == first  # the index does not matter
    other = draw_for(seeded(3, 8))
    assert all(a != b for a, b in zip(first, other))


def test_plain_index__generators_go_on():
    draw_for(seeded(0, 7))
    expected = draw(), draw()
    draw_for(seeded(0, 7))
    assert (draw_for(3), draw_for(np.int64(3))) == expected


def test_largest_seed():
    assert draw_for(seeded(0, 2**32 - 1)) != draw_for(seeded(0, 0))


def test_first_numbers_are_even_and_independent():
    """Over samples, the first draws are as good as one long stream's."""
    seeds = np.random.default_rng(0).integers(2**32, size=2000)
    draws = np.array([draw_for(seeded(0, int(seed))) for seed in seeds])
    for numbers in draws.T:
        counts = np.histogram(numbers, 10, (0, 1))[0]
        # 9 degrees of freedom: 27.9 is exceeded once in a thousand
        assert ((counts - 200) ** 2 / 200).sum() < 27.9
    correlation = np.corrcoef(draws.T) - np.eye(3)
    assert np.abs(correlation).max() < 4 / np.sqrt(len(seeds))
