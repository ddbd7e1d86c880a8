"""CloseSyntheticHook: which epochs see synthetic images."""

from collections import Counter
from pathlib import Path

import pytest
from mmengine.registry import TRANSFORMS
from tiny_diffusion import coco_steel
from tiny_marks import marks_of

from dsym.errors import InputError


class Source:
    """Marks an image: -1 if it is synthetic, else its number."""

    def __call__(self, results):
        path = Path(results['img_path'])
        return dict(
            inputs=int(path.stem) if path.parent.name == 'steel' else -1
        )


@pytest.fixture
def steel(tmp_path):
    TRANSFORMS.register_module(module=Source)
    yield coco_steel(tmp_path / 'steel', pipeline=[dict(type='Source')])
    TRANSFORMS.module_dict.pop('Source')


def train(folder, dataset, last, workers=0):
    hook = dict(type='CloseSyntheticHook', num_last_epochs=last)
    return marks_of(folder, dataset, hook, 3, workers, shuffle=True)


def with_copies(dataset, folder, ratio=1.5):
    return dict(
        type='DiffusionAugment',
        dataset=dataset,
        painter=dict(type='CopyPastePainter', min_side=24),
        ratio=ratio,
        cache_dir=str(folder / 'synthetic'),
        num_workers=0,
    )


@pytest.mark.parametrize('workers', [0, 1])
@pytest.mark.parametrize('last', [2, 0.6])
def test_last_epochs__real_images_in_place_of_synthetic(
    tmp_path, steel, workers, last
):
    """4 real images and 6 others: then two of the 4 come a third time."""
    marks = train(tmp_path, with_copies(steel, tmp_path), last, workers)
    expected = [Counter({0: 1, 1: 1, 2: 1, 3: 1, -1: 6})]
    expected += 2 * [Counter({0: 3, 1: 3, 2: 2, 3: 2})]
    for epoch, counts in enumerate(expected):
        assert Counter(m for e, m in marks if e == epoch) == counts


def test_wrapped__is_found(tmp_path, steel):
    twice = dict(
        type='RepeatDataset', times=2, dataset=with_copies(steel, tmp_path)
    )
    both = dict(type='ConcatDataset', datasets=[steel, twice])
    marks = train(tmp_path, both, 1)
    synthetic = [e for e, m in marks if m == -1]
    assert Counter(synthetic) == {0: 12, 1: 12}


def test_no_synthetic_images__is_said_before_training(tmp_path, steel):
    with pytest.raises(InputError, match='has no DiffusionAugment: wrap'):
        train(tmp_path, steel, 1)
    # a ratio of 0 is the yardstick's
    marks = train(tmp_path, with_copies(steel, tmp_path, ratio=0), 1)
    assert Counter(m for _, m in marks) == dict.fromkeys(range(4), 3)


def test_more_epochs_than_there_are(tmp_path, steel):
    with pytest.raises(InputError, match=r'CloseSynthetic.*=3: lower it'):
        train(tmp_path, with_copies(steel, tmp_path), 4)
