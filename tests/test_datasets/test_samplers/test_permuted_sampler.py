import pytest
from mmengine.registry import DATA_SAMPLERS

from dsym.datasets import PermutedSampler
from dsym.datasets.samplers.permuted_sampler import permuted


@pytest.mark.parametrize('size', [1, 2, 3, 17, 64, 1000])
def test_permuted__every_index_once(size):
    for seed in range(5):
        order = [permuted(i, size, seed) for i in range(size)]
        assert sorted(order) == [*range(size)]


def test_permuted__places_are_as_good_as_independent():
    """Of 1,000 seeds each of 10 values stands in a place about 100 times."""
    counts = [0] * 10
    pairs = 0
    for seed in range(1000):
        first, second = permuted(0, 10, seed), permuted(1, 10, seed)
        counts[first] += 1
        pairs += second == (first + 1) % 10
    # 6 standard deviations of 9.5
    assert all(43 < x < 157 for x in counts)
    # 1 of 9 values may follow
    assert 50 < pairs < 172


def test_passes__differ_and_repeat():
    sampler = DATA_SAMPLERS.build(
        dict(type='PermutedSampler', dataset=range(50), seed=3)
    )
    first = [*sampler]
    assert [*sampler] == first
    sampler.set_epoch(1)
    assert sorted(sampler) == [*range(50)] and [*sampler] != first
    sampler.set_epoch(0)
    sampler.first = 20
    assert [*sampler] == first[20:] and [*sampler] == first
    assert [*PermutedSampler(range(5), shuffle=False, seed=0)] == [*range(5)]


def test_ranks__share_a_pass(monkeypatch):
    parts = []
    for rank in range(3):
        sampler = PermutedSampler(range(10), seed=1)
        sampler.rank, sampler.world_size = rank, 3
        assert len(sampler) == len([*sampler]) == 4
        parts += [*sampler]
    assert {*parts} == {*range(10)} and len(parts) == 12
