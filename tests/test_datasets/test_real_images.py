"""What is left of a data set without the images that were painted."""

import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS
from tiny_diffusion import coco_steel

from dsym.datasets.real_images import (
    labelled_images,
    real_datasets,
    real_images,
)
from dsym.errors import InputError

REAL = 4  # images of coco_steel


@pytest.fixture
def steel(tmp_path):
    return dict(coco_steel(tmp_path / 'steel'), pipeline=[])


@pytest.fixture
def augmented(steel, tmp_path):
    """Config of the same with two copies in it."""
    return dict(
        type='DiffusionAugment',
        dataset=steel,
        painter=dict(type='CopyPastePainter', min_side=24),
        ratio=0.5,
        cache_dir=str(tmp_path / 'synthetic'),
        num_workers=0,
    )


def joined(*parts):
    return dict(type='ConcatDataset', datasets=[*parts])


def repeated(dataset, times):
    return dict(type='RepeatDataset', dataset=dataset, times=times)


def folders(dataset):
    paths = [dataset.get_data_info(i)['img_path'] for i in range(len(dataset))]
    return [path.split('/')[-2] for path in paths]


def test_real_images__of_a_wrapper(augmented):
    dataset = DATASETS.build(augmented)
    assert folders(dataset) == ['steel'] * REAL + ['images'] * 2
    assert real_images(dataset) is dataset.datasets[0]
    found = real_images(DATASETS.build(repeated(augmented, 3)))
    assert folders(found) == ['steel'] * REAL


def test_real_images__of_parts_that_are_joined(steel, augmented):
    dataset = DATASETS.build(joined(steel, augmented, augmented))
    found = real_images(dataset)
    assert folders(found) == ['steel'] * 3 * REAL
    assert found.metainfo == dataset.metainfo
    # what is trained on stays as it is
    assert len(dataset) == 3 * REAL + 4
    assert folders(dataset).count('images') == 4


def test_real_datasets__the_parts_of_joined_ones(steel, augmented):
    dataset = DATASETS.build(joined(steel, augmented))
    assert [len(x) for x in real_datasets(dataset)] == [REAL, REAL]
    assert [len(x) for x in real_datasets(dataset.datasets[1])] == [REAL]


def test_real_images__without_synthetic_ones_it_is_the_same(steel):
    for config in (steel, joined(steel, steel)):
        dataset = DATASETS.build(config)
        assert real_images(dataset) is dataset


def test_labelled_images__are_not_painted_first(augmented):
    augmented['painter'] = dict(type='No')
    dataset = joined(repeated(augmented, 2), augmented)
    config = Config(dict(train_dataloader=dict(dataset=dataset)))
    assert folders(labelled_images(config)) == ['steel'] * 3 * REAL
    with pytest.raises(InputError, match='no train_dataloader: give'):
        labelled_images(Config())


def test_real_images__are_not_counted_more_often_for_their_class(steel):
    balanced = dict(
        type='ClassBalancedDataset', dataset=steel, oversample_thr=1.0
    )
    dataset = DATASETS.build(repeated(balanced, 2))
    assert len(dataset) > 2 * REAL
    assert folders(real_images(dataset)) == ['steel'] * REAL
