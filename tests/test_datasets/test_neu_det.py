import shutil
from collections import Counter
from pathlib import Path

import mmyolo  # noqa: F401  registers the transforms used below
import numpy as np
import pytest
from dataset_files import write_image, write_xml
from mmdet.datasets import XMLDataset
from mmengine.registry import DATASETS
from mmyolo.datasets import yolov5_collate

from dsym.datasets import (
    CLASSES,
    DatasetError,
    NEUDETDataset,
    published_splits,
)
from dsym.datasets.split_lists import find_split

# The table of the splits' README: images and boxes; None where it has no
# figure. labeled + unlabeled must add up to train.
TABLE = {
    'labeled_20': (324, 766),
    'labeled_20_half1': (162, None),
    'labeled_20_half2': (162, None),
    'unlabeled_80': (1296, 2977),
    'labeled_40': (648, None),
    'unlabeled_60': (972, None),
    'dev': (324, None),
    'train': (1620, 3743),
    'test': (180, 446),
    'paper_test': (170, 418),
    'paper_val': (38, 95),
    'paper_test_clean': (142, None),
}


def infos(dataset):
    return [dataset.get_data_info(i) for i in range(len(dataset))]


def num_boxes(dataset):
    return sum(len(info['instances']) for info in infos(dataset))


def stems(dataset):
    return {info['img_id'] for info in infos(dataset)}


def test_published_splits__are_those_of_the_table():
    assert published_splits() == sorted(TABLE)


def test_halves__every_second_line():
    """And so as many of each class: the list has 54 of one after the other."""
    whole, first, second = (
        Path(find_split(name)).read_text().split()
        for name in ('labeled_20', 'labeled_20_half1', 'labeled_20_half2')
    )
    assert first == whole[::2] and second == whole[1::2]
    for half in first, second:
        classes = Counter(x.rpartition('_')[0] for x in half)
        assert classes == dict.fromkeys(CLASSES, 27)


def test_splits__counts_of_the_readme(neu_det_root):
    sets = {
        name: NEUDETDataset(data_root=neu_det_root, split=name)
        for name in TABLE
    }
    for name, (images, boxes) in TABLE.items():
        assert len(sets[name]) == images, name
        if boxes is not None:
            assert num_boxes(sets[name]) == boxes, name
    # what may be looked at to choose a recipe for labeled_20
    assert stems(sets['dev']) == stems(sets['labeled_40']) - stems(
        sets['labeled_20']
    )
    assert num_boxes(sets['labeled_40']) + num_boxes(
        sets['unlabeled_60']
    ) == num_boxes(sets['train'])
    names = {key: stems(dataset) for key, dataset in sets.items()}
    assert names['labeled_20'] | names['unlabeled_80'] == names['train']
    assert not names['train'] & names['test']
    assert len(names['paper_test'] & names['paper_val']) == 28
    assert names['paper_test_clean'] == (
        names['paper_test'] - names['paper_val']
    )


def test_split_none__takes_all(neu_det_root):
    dataset = NEUDETDataset(data_root=neu_det_root, split=None)
    assert len(dataset) == 1800
    assert num_boxes(dataset) == 3743 + 446


def test_boxes__equal_mmdets_xml_dataset(neu_det_root, tmp_path):
    split = tmp_path / 'five.txt'
    split.write_text('crazing_120\npatches_3\nscratches_7\ninclusion_62\n')
    ours = NEUDETDataset(
        data_root=neu_det_root,
        split=str(split),
        one_based=True,
        difficult='ignore',
    )
    theirs = XMLDataset(
        data_root=neu_det_root,
        ann_file=str(split),
        data_prefix={'sub_data_root': ''},
        img_subdir='IMAGES',
        ann_subdir='ANNOTATIONS',
        metainfo={'classes': CLASSES},
        test_mode=True,
    )
    assert len(ours) == len(theirs) == 4
    for mine, other in zip(infos(ours), infos(theirs)):
        assert Path(mine['img_path']).samefile(other['img_path'])
        assert mine['img_id'] == other['img_id']
        assert (mine['width'], mine['height']) == (200, 200)
        assert mine['instances'] == other['instances']


def test_difficult__six_in_paper_test(neu_det_root):
    def load(policy):
        return infos(
            NEUDETDataset(
                data_root=neu_det_root, split='paper_test', difficult=policy
            )
        )

    flags = [
        instance['ignore_flag']
        for info in load('ignore')
        for instance in info['instances']
    ]
    assert (len(flags), sum(flags)) == (418, 6)
    assert sum(len(info['instances']) for info in load('drop')) == 412


def test_class__from_name_not_from_file(neu_det_root):
    dataset = NEUDETDataset(data_root=neu_det_root, split=None)
    differing = [
        (info['img_id'], instance)
        for info in infos(dataset)
        for instance in info['instances']
        if CLASSES[instance['bbox_label']] != info['img_id'].rpartition('_')[0]
    ]
    assert len(differing) == 188
    assert len({img_id for img_id, _ in differing}) == 123


def test_pipeline__mosaic_and_collate(neu_det_root):
    scale = (224, 224)
    load = [
        {'type': 'LoadImageFromFile'},
        {'type': 'mmdet.LoadAnnotations', 'with_bbox': True},
    ]
    dataset = DATASETS.build(
        {
            'type': 'NEUDETDataset',
            'data_root': neu_det_root,
            'split': 'labeled_20',
            'pipeline': [
                *load,
                {
                    'type': 'mmyolo.Mosaic',
                    'img_scale': scale,
                    'pre_transform': load,
                },
                {
                    'type': 'mmyolo.YOLOv5RandomAffine',
                    'border': (-112, -112),
                },
                {'type': 'mmdet.PackDetInputs', 'meta_keys': ('img_id',)},
            ],
        }
    )
    batch = yolov5_collate([dataset[0], dataset[1]])
    assert batch['inputs'].shape == (2, 3, 224, 224)
    assert batch['data_samples']['bboxes_labels'].shape[1] == 6


def make_kaggle(root, ann=True):
    """Images of a class in a folder of their own; one xml misplaced."""
    for part, stem, seed in (
        ('train', 'crazing_1', 1),
        ('train', 'crazing_2', 2),
        ('validation', 'patches_9', 3),
    ):
        folder = stem.rpartition('_')[0]
        write_image(root / part / 'images' / folder / f'{stem}.jpg', seed=seed)
    if ann:
        for part, stem in (
            ('train', 'crazing_1'),
            ('validation', 'crazing_2'),
            ('validation', 'patches_9'),
        ):
            write_xml(
                root / part / 'annotations' / f'{stem}.xml',
                [('patches', (1, 1, 20, 20))],
            )


def test_kaggle_layout__is_one_pool(tmp_path):
    make_kaggle(tmp_path)
    dataset = NEUDETDataset(data_root=str(tmp_path), split=None)
    assert stems(dataset) == {'crazing_1', 'crazing_2', 'patches_9'}
    # Labels come from <name>, here 'patches' for all.
    labels = [info['instances'][0]['bbox_label'] for info in infos(dataset)]
    assert labels == [CLASSES.index('patches')] * 3


@pytest.mark.parametrize('split', [None, 'list.txt'])
def test_unlabeled__loads_without_any_xml(tmp_path, split):
    make_kaggle(tmp_path, ann=False)
    (tmp_path / 'list.txt').write_text('crazing_1\ncrazing_2\npatches_9\n')
    dataset = NEUDETDataset(
        data_root=str(tmp_path), split=split, unlabeled=True
    )
    assert len(dataset) == 3
    for info in infos(dataset):
        assert info['instances'] == []
        assert (info['width'], info['height']) == (40, 30)


def test_data_root__may_contain_the_download(tmp_path):
    write_image(tmp_path / 'NEU-DET/IMAGES/crazing_1.jpg')
    write_xml(
        tmp_path / 'NEU-DET/ANNOTATIONS/crazing_1.xml',
        [('crazing', (1, 1, 9, 9))],
    )
    assert len(NEUDETDataset(data_root=str(tmp_path), split=None)) == 1


def test_real_images__are_read_as_downloaded(neu_det_root, tmp_path):
    """A copy in the Kaggle layout gives the same infos as the original."""
    part = tmp_path / 'train'
    (part / 'images/scratches').mkdir(parents=True)
    (part / 'annotations').mkdir()
    names = [f'scratches_{i}' for i in (1, 2, 3)]
    for name in names:
        shutil.copy(
            f'{neu_det_root}/IMAGES/{name}.jpg', part / 'images/scratches'
        )
        shutil.copy(
            f'{neu_det_root}/ANNOTATIONS/{name}.xml', part / 'annotations'
        )
    split = tmp_path / 'three.txt'
    split.write_text('\n'.join(names))
    kaggle, flat = (
        infos(NEUDETDataset(data_root=root, split=str(split)))
        for root in (str(tmp_path), neu_det_root)
    )
    for one, other in zip(kaggle, flat):
        assert one['img_id'] == other['img_id']
        np.testing.assert_array_equal(
            [i['bbox'] for i in one['instances']],
            [i['bbox'] for i in other['instances']],
        )


def test_data_prefix__names_the_folders_of_another_layout(tmp_path):
    write_image(tmp_path / 'pictures/crazing_1.jpg')
    write_xml(tmp_path / 'xml/crazing_1.xml', [('crazing', (1, 1, 9, 9))])
    dataset = NEUDETDataset(
        data_root=str(tmp_path),
        split=None,
        data_prefix={'img': 'pictures', 'ann': 'xml'},
    )
    assert num_boxes(dataset) == 1


def test_missing_root__one_line(tmp_path):
    root = tmp_path / 'nowhere'
    with pytest.raises(DatasetError, match=r'data root .*nowhere does not'):
        NEUDETDataset(data_root=str(root))


def test_neither_layout__names_both(tmp_path):
    with pytest.raises(DatasetError, match=r'neither.*IMAGES/.*train/') as e:
        NEUDETDataset(data_root=str(tmp_path))
    assert '\n' not in str(e.value)


def test_unknown_split__lists_the_published(tmp_path):
    with pytest.raises(DatasetError, match=r'labeled_30.*labeled_20'):
        NEUDETDataset(data_root=str(tmp_path), split='labeled_30')
