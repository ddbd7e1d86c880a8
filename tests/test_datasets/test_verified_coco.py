import json
import os
from pathlib import Path

import pytest
from dataset_files import write_image
from mmdet.datasets import CocoDataset
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope
from mmyolo.datasets import YOLOv5CocoDataset

from dsym.datasets import DatasetError, VerifiedCocoDataset, check_dataset

META = {'classes': ('scratch', 'dent')}


def annotation(number, image, category, box, **kwargs):
    return {
        'id': number,
        'image_id': image,
        'category_id': category,
        'bbox': box,
        'area': box[2] * box[3],
        'iscrowd': 0,
        **kwargs,
    }


@pytest.fixture
def coco(tmp_path):
    """Two 40 x 30 images, three boxes; returns (root, content, save)."""
    for number in (1, 2):
        write_image(tmp_path / f'img/{number}.jpg', seed=number)
    content = {
        'images': [
            {'id': i, 'file_name': f'{i}.jpg', 'width': 40, 'height': 30}
            for i in (1, 2)
        ],
        'categories': [
            {'id': 7, 'name': 'scratch'},
            {'id': 9, 'name': 'dent'},
        ],
        'annotations': [
            annotation(1, 1, 7, [1, 2, 10, 20]),
            annotation(2, 2, 9, [5, 5, 4, 4]),
            annotation(3, 2, 7, [0, 0, 9, 9], iscrowd=1),
        ],
    }

    def save():
        (tmp_path / 'ann.json').write_text(json.dumps(content))

    save()
    return tmp_path, content, save


def build(root, cls=VerifiedCocoDataset, **kwargs):
    kwargs = {'metainfo': META, **kwargs}
    return cls(
        data_root=str(root),
        ann_file='ann.json',
        data_prefix={'img': 'img'},
        **kwargs,
    )


def test_valid_file__as_mmyolo_reads_it(coco):
    root, *_ = coco
    ours, theirs = build(root), build(root, YOLOv5CocoDataset)
    assert len(ours) == 2
    for i in range(2):
        assert ours.get_data_info(i) == theirs.get_data_info(i)


def test_corrupt_image__skipped(coco):
    root, *_ = coco
    (root / 'img/1.jpg').write_bytes(b'x')
    assert len(build(root)) == 1
    assert len(build(root, verify_images=False)) == 2


def test_missing_image(coco):
    root, *_ = coco
    (root / 'img/2.jpg').unlink()
    with pytest.raises(DatasetError, match=r'2\.jpg does not exist'):
        build(root)


def test_box_out_of_image__clipped(coco):
    root, content, save = coco
    content['annotations'][0]['bbox'] = [30, 20, 20, 20]
    save()
    info = build(root).get_data_info(0)
    assert info['instances'][0]['bbox'] == [30, 20, 40, 30]


@pytest.mark.parametrize(
    ('size', 'bboxes', 'expected'),
    [
        # of a larger copy of the image: the first box is not in ours
        (80, [[50, 5, 12, 12], [4, 5, 12, 12]], [[4, 5, 16, 17]]),
        # of a smaller one: both are in ours
        (15, [[20, 5, 12, 12], [4, 5, 12, 12]],
         [[20, 5, 32, 17], [4, 5, 16, 17]]),
    ],
)  # fmt: skip
def test_another_size_in_the_file__boxes_of_the_image(
    coco, size, bboxes, expected
):
    root, content, save = coco
    content['images'][0].update(width=size, height=size)
    content['annotations'] = [
        annotation(i, 1, 9, bbox) for i, bbox in enumerate(bboxes)
    ]
    save()
    dataset = build(root)
    (info,) = (
        x for x in map(dataset.get_data_info, range(2)) if x['instances']
    )
    assert (info['width'], info['height']) == (40, 30)
    assert [x['bbox'] for x in info['instances']] == expected


def test_class_order__other_than_the_files_is_refused(coco):
    """Else CocoDataset calls scratches dents, without a word."""
    root, *_ = coco
    swapped = {'classes': ('dent', 'scratch')}
    wrong = build(root, YOLOv5CocoDataset, metainfo=swapped)
    label = wrong.get_data_info(0)['instances'][0]['bbox_label']
    assert swapped['classes'][label] == 'dent'
    with pytest.raises(DatasetError, match='in that order'):
        build(root, metainfo=swapped)


@pytest.mark.parametrize(
    'classes, part',
    [
        (('scratch', 'dent', 'rust'), "no category 'rust'"),
        (('scratch',), 'which is not in'),
        (None, "no category 'person'"),
    ],
)
def test_classes(coco, classes, part):
    root, *_ = coco
    with pytest.raises(DatasetError, match=part):
        build(root, metainfo=classes and {'classes': classes})


@pytest.mark.parametrize(
    'change, part',
    [
        (lambda c: c.pop('categories'), "no list 'categories'"),
        (lambda c: c['images'].clear(), 'holds no image'),
        (lambda c: c['annotations'][0].pop('bbox'), 'annotation 1 lacks bbox'),
        (lambda c: c['annotations'][0].pop('area'), 'annotation 1 lacks area'),
        (
            lambda c: c['annotations'][1].update(image_id=5),
            'annotation 2 needs',
        ),
        (lambda c: c['annotations'][0].pop('id'), 'annotation None lacks id'),
        (
            lambda c: c['annotations'][0].update(bbox=[float('nan'), 1, 2, 2]),
            'annotation 1 needs',
        ),
        (
            lambda c: c['annotations'][0].update(id=2),
            'id 2 in annotations twice',
        ),
        (lambda c: c['images'][0].update(id=2), 'id 2 in images twice'),
        (
            lambda c: c['images'].append(
                dict(c['images'][0], id=3, file_name='./1.jpg')
            ),
            'ann.json names the image 1.jpg twice: merge its entries',
        ),
        (lambda c: c['annotations'].append(5), 'is no object'),
        (lambda c: c['categories'][0].pop('name'), 'without id or name'),
        (lambda c: c['images'][0].pop('width'), "image without 'width'"),
    ],
)
def test_malformed_content(coco, change, part):
    root, content, save = coco
    change(content)
    save()
    with pytest.raises(DatasetError) as error:
        build(root)
    assert part in str(error.value) and '\n' not in str(error.value)


def test_malformed_file(coco):
    root, *_ = coco
    (root / 'ann.json').write_text('{"images": [')
    with pytest.raises(DatasetError, match='no valid json'):
        build(root)
    (root / 'ann.json').unlink()
    with pytest.raises(DatasetError, match=r'ann\.json does not exist'):
        build(root)


def test_check_dataset__counts(coco):
    root, content, save = coco
    content['annotations'] += [
        annotation(4, 1, 7, [1, 2, 10, 20]),
        annotation(5, 1, 9, [39, 29, 10, 10]),
        annotation(6, 1, 9, [50, 50, 10, 10]),
        annotation(7, 1, 8, [0, 0, 1, 1]),
    ]
    save()
    report = check_dataset(build(root, lazy_init=True))
    assert report['counts'] == {
        'unknown_class': 1,
        'empty_box': 1,
        'duplicate_box': 1,
        'box_clipped': 1,
    }
    assert report['num_errors'] == 2
    assert report['boxes_per_class'] == {'dent': 2, 'scratch': 3}


def test_box_that_mmdet_leaves_out__reported_and_not_loaded(coco):
    """mmdet drops boxes with a side below 1 pixel or no area, silently."""
    root, content, save = coco
    content['annotations'] += [
        annotation(4, 1, 9, [3, 3, 0.5, 9]),
        annotation(5, 2, 9, [3, 3, 9, 9], area=0),
        annotation(6, 2, 9, [3, 3, 9, 9], ignore=1),
    ]
    save()
    report = check_dataset(build(root, lazy_init=True))
    assert report['counts'] == {'box_left_out': 3}
    assert report['num_boxes'] == 3
    dataset = build(root)
    dataset.full_init()
    counts = [len(dataset.get_data_info(i)['instances']) for i in (0, 1)]
    assert counts == [1, 2]


def test_coco_configs__leave_out_damaged_images(coco, monkeypatch):
    root, content, _ = coco
    (root / 'img').rename(root / 'train2017')
    for number in (3, 4):
        write_image(root / f'train2017/{number}.jpg', seed=number)
        content['images'].append(
            {
                **content['images'][0],
                'id': number,
                'file_name': f'{number}.jpg',
            }
        )
    for image in content['images']:  # the configs want 32 px
        write_image(root / 'train2017' / image['file_name'], 40, 40)
        image['height'] = 40
    (root / 'train2017/3.jpg').write_bytes(b'')
    os.truncate(root / 'train2017/4.jpg', 300)
    content['categories'] = [
        {'id': i, 'name': name}
        for i, name in enumerate(CocoDataset.METAINFO['classes'], 1)
    ]
    (root / 'annotations').mkdir()
    (root / 'annotations/instances_train2017.json').write_text(
        json.dumps(content)
    )
    monkeypatch.setenv('COCO_ROOT', str(root))
    configs = Path(__file__).parents[2] / 'configs/yolov9'
    config = Config.fromfile(configs / 'yolov9-t_8xb16-500e_coco.py')
    with DefaultScope.overwrite_default_scope('mmyolo'):
        dataset = DATASETS.build(config.train_dataloader.dataset)
    assert [dataset.get_data_info(i)['img_id'] for i in (0, 1)] == [1, 2]
    assert len(dataset) == 2


@pytest.mark.parametrize(
    ('place', 'value'),
    [
        (('annotations', 'bbox'), ['1', '2', '10', '20']),
        (('annotations', 'area'), '200'),
        (('images', 'file_name'), None),
    ],
)
def test_text_in_place_of_a_number__is_malformed(coco, place, value):
    root, content, save = coco
    part, key = place
    content[part][0][key] = value
    save()
    with pytest.raises(DatasetError, match=r'ann\.json'):
        build(root)
