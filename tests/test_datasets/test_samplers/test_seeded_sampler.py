"""SeededSampler: mmengine's order, and a seed for every place of a pass."""

import pickle

import pytest
from mmengine.dataset import (
    BaseDataset,
    ClassBalancedDataset,
    DefaultSampler,
)
from mmengine.registry import DATA_SAMPLERS
from torch.utils.data import DataLoader

from dsym.datasets.samplers import SeededIndex


def sampler(size=10, seed=3, epoch=0, rank=0, world_size=1):
    made = DATA_SAMPLERS.build(
        dict(type='SeededSampler', dataset=range(size), seed=seed)
    )
    made.rank, made.world_size = rank, world_size
    made.set_epoch(epoch)
    return made


def pairs(iterable):
    return [(int(index), index.seed) for index in iterable]


@pytest.mark.parametrize('epoch', [0, 1, 5])
@pytest.mark.parametrize('seed', [0, 7])
def test_order_of_mmengine(seed, epoch):
    peer = DefaultSampler(range(23), seed=seed)
    peer.set_epoch(epoch)
    ours = sampler(23, seed, epoch)
    assert list(ours) == list(peer)
    assert len(ours) == 23


def test_ranks_share_a_pass():
    """Each has every second index of the whole pass."""
    whole = list(sampler())
    for rank in (0, 1):
        assert list(sampler(rank=rank, world_size=2)) == whole[rank::2]


def test_seeds_are_never_used_twice():
    """Not at another place, pass or rank, nor by another run or size."""
    passes = [
        sampler(),
        sampler(epoch=1),
        sampler(seed=4),
        sampler(size=11),
        sampler(rank=1, world_size=2),
        # the same sum of seed and pass, which is mmengine's seed
        sampler(seed=2, epoch=1),
    ]
    seeds = [seed for one in passes for _, seed in pairs(one)]
    assert len(seeds) == 56
    assert len(set(seeds)) == 56
    assert all(0 <= seed < 2**32 for seed in seeds)


def test_same_run_again__same_seeds():
    one = sampler(epoch=2)
    assert pairs(one) == pairs(one) == pairs(sampler(epoch=2))


@pytest.mark.parametrize('first', [0, 4, 10])
def test_resumed_pass_is_the_tail(first):
    unbroken = pairs(sampler(epoch=2))
    resumed = sampler(epoch=2)
    resumed.first = first
    assert pairs(resumed) == unbroken[first:]
    # only once: the next pass is whole
    assert pairs(resumed) == unbroken


def test_index_is_pickled_with_its_seed():
    copy = pickle.loads(pickle.dumps(SeededIndex(5, 2**32 - 1)))
    assert copy == 5
    assert copy.seed == 2**32 - 1


class TenSamples(BaseDataset):
    def load_data_list(self):
        return [dict(value=i) for i in range(10)]


def keep(samples):
    """A batch as it is."""
    return samples


@pytest.mark.parametrize('workers', [0, 1])
def test_seed_reaches_the_pipeline(workers):
    expected = pairs(sampler(epoch=1))
    loader = DataLoader(
        TenSamples(),
        batch_size=4,
        sampler=sampler(epoch=1),
        num_workers=workers,
        collate_fn=keep,
    )
    found = [sample for batch in loader for sample in batch]
    assert pairs(sample['sample_idx'] for sample in found) == expected
    assert [sample['value'] for sample in found] == [i for i, _ in expected]


def test_seed_survives_wrappers_of_data_sets():
    """``ConcatDataset`` subtracts, ``RepeatDataset`` takes the remainder."""
    index = SeededIndex(17, seed=5)
    for inner, value in ((index - 12, 5), (index % 6, 5)):
        assert int(inner) == value and inner.seed == 5


def test_class_balanced_data_set__is_warned_of(monkeypatch):
    """It looks indices up in a list, which forgets their seeds."""

    class Two(BaseDataset):
        def load_data_list(self):
            return [dict(instances=[dict(bbox_label=x)]) for x in (0, 1)]

        def get_cat_ids(self, idx):
            return [idx]

    said = []
    monkeypatch.setattr(
        'dsym.datasets.samplers.seeded_sampler.print_log',
        lambda text, *_: said.append(text),
    )
    two = Two(metainfo=dict(classes=('a', 'b')), pipeline=[])
    build = dict(type='SeededSampler', seed=0)
    DATA_SAMPLERS.build(dict(build, dataset=two))
    assert said == []
    balanced = ClassBalancedDataset(two, 0.9)
    index = next(iter(DATA_SAMPLERS.build(dict(build, dataset=balanced))))
    assert not hasattr(balanced[index]['sample_idx'], 'seed')
    assert len(said) == 1
    assert 'ClassBalancedDataset' in said[0]
