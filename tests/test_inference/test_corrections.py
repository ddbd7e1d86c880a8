"""Corrections by hand are found and named."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from dataset_files import write_image
from test_inference.test_writers import boxes_of
from tiny_detector import CLASSES

from dsym.datasets import VerifiedCocoDataset
from dsym.datasets.image_checks import decode_image
from dsym.errors import InputError
from dsym.inference.corrections import (
    compare,
    describe_changes,
    find_format,
    read_corrected,
    review_to_coco,
    scan_voc,
)
from dsym.inference.pseudo_labels import marks
from dsym.inference.sources import Frame
from dsym.inference.voc_writer import VocWriter, whole_pixels
from dsym.inference.writers import CocoWriter

# label, score, corners; in 40 x 30 images
LABELS = {
    'a.jpg': boxes_of(
        (0, 0.9, 1.4, 2.3, 11.2, 12.6), (1, 0.8, 20, 10, 30, 20)
    ),
    'sub/b.jpg': boxes_of((2, 0.7, 5, 5, 15, 25), (3, 0.6, 20, 2, 39, 12)),
    'empty.jpg': boxes_of(),
}


def write_labels(folder, labels=LABELS):
    """Write images and what the tool writes of them; give its folder."""
    out = folder / 'labels'
    info = dict(image_root=str(folder / 'images'))
    writers = [
        CocoWriter(out / 'written.json', CLASSES, info),
        CocoWriter(out / 'coco.json', CLASSES, info),
        VocWriter(out / 'voc', CLASSES),
    ]
    for seed, (name, boxes) in enumerate(labels.items()):
        path = folder / 'images' / name
        write_image(path, seed=seed)
        frame = Frame(name, decode_image(str(path))[0], path=path)
        for writer in writers:
            writer.write(frame, boxes, marks(boxes))
    for writer in writers:
        writer.close()
    return out


@pytest.fixture
def folder(tmp_path):
    return write_labels(tmp_path)


def edit_coco(folder, change):
    content = json.loads((folder / 'coco.json').read_text())
    change(content)
    (folder / 'coco.json').write_text(json.dumps(content))


def edit_voc(folder, name, *pairs):
    file = folder / 'voc' / name
    text = file.read_text()
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new, 1)
    file.write_text(text)


@pytest.mark.parametrize('form', ['coco', 'voc'])
def test_untouched__everything_is_kept(folder, form):
    review = read_corrected(folder, form)
    assert not review.issues
    assert review.counts() == dict(kept=4)
    assert describe_changes(review, CLASSES) == []
    assert find_format(folder) == 'coco'


def test_coco__each_correction_is_found(folder, tmp_path):
    def change(content):
        first, second, third, fourth = content['annotations']
        first['bbox'] = [1.4, 2.3, 9.8, 20.6]  # twice as high: IoU 0.5
        second['category_id'] = 5
        content['annotations'].remove(third)
        fourth['id'] = 99  # tools number anew
        image = next(
            x for x in content['images'] if x['file_name'] == 'empty.jpg'
        )
        content['annotations'].append(
            dict(
                id=3,
                image_id=image['id'],
                category_id=6,
                bbox=[1, 1, 8, 8],
                area=64,
                iscrowd=0,
            )
        )
        content['categories'].reverse()

    edit_coco(folder, change)
    assert find_format(folder) == 'coco'
    review = read_corrected(folder, 'coco')
    assert not review.issues
    assert describe_changes(review, CLASSES) == [
        'a.jpg: moved a (1.4, 2.3, 11.2, 12.6) -> a (1.4, 2.3, 11.2, 22.9), '
        'IoU 0.50',
        'a.jpg: relabelled b (20, 10, 30, 20) -> e (20, 10, 30, 20), IoU 1.00',
        'sub/b.jpg: removed c (5, 5, 15, 25)',
        'empty.jpg: added f (1, 1, 9, 9)',
    ]
    root = str(tmp_path / 'images')
    content = review_to_coco(review, root, CLASSES)
    kinds = [x['review'] for x in content['annotations']]
    assert kinds == ['moved', 'relabelled', 'kept', 'added']
    out = tmp_path / 'corrected.json'
    out.write_text(json.dumps(content))
    dataset = VerifiedCocoDataset(
        ann_file=str(out),
        data_prefix=dict(img=root),
        metainfo=dict(classes=CLASSES),
        pipeline=[],
    )
    loaded = [
        [x['bbox_label'] for x in dataset.get_data_info(i)['instances']]
        for i in range(len(dataset))
    ]
    assert loaded == [[0, 4], [3], [5]]


def test_export_of_cvat__in_place_of_the_file(folder):
    """Its 'COCO 1.0': other order and ids, keys of its own, no scores."""
    export = Path(__file__).with_name('cvat_coco_1.0.json')
    shutil.copy(export, folder / 'coco.json')
    assert find_format(folder) == 'coco'
    review = read_corrected(folder, 'coco')
    assert not review.issues
    assert describe_changes(review, CLASSES) == [
        'a.jpg: relabelled b (20, 10, 30, 20) -> e (20, 10, 30, 20), IoU 1.00',
        'empty.jpg: added f (1, 1, 9, 9)',
        'sub/b.jpg: moved d (20, 2, 39, 12) -> d (20, 2, 39, 14), IoU 0.83',
        'sub/b.jpg: removed c (5, 5, 15, 25)',
    ]
    assert review.counts()['kept'] == 1


def test_voc__each_correction_is_found(folder):
    edit_voc(
        folder,
        'a.xml',
        ('<ymax>13</ymax>', '<ymax>24</ymax>'),
        ('<name>b</name>', '<name>e</name>'),
    )
    text = (folder / 'voc/sub/b.xml').read_text()
    first = text.index('<object>')
    second = text.index('<object>', first + 1)
    (folder / 'voc/sub/b.xml').write_text(text[:first] + text[second:])
    assert find_format(folder) == 'voc'
    review = read_corrected(folder, 'voc')
    assert describe_changes(review, CLASSES) == [
        'a.jpg: moved a (1, 2, 11, 13) -> a (1, 2, 11, 24), IoU 0.50',
        'a.jpg: relabelled b (20, 10, 30, 20) -> e (20, 10, 30, 20), IoU 1.00',
        'sub/b.jpg: removed c (5, 5, 15, 25)',
    ]


def test_voc_that_nobody_touched__keeps_fractions(folder, tmp_path):
    review = read_corrected(folder, 'voc')
    content = review_to_coco(review, str(tmp_path / 'images'), CLASSES)
    assert content['annotations'][0]['bbox'] == pytest.approx(
        [1.4, 2.3, 9.8, 10.3]
    )


def test_faults__are_all_reported(folder, tmp_path):
    def change(content):
        content['categories'].append(dict(id=9, name='rust'))
        first, second, third, _ = content['annotations']
        first['category_id'] = 9
        second['bbox'] = [35, 25, 10, 10]
        third['bbox'] = [50, 50, 5, 5]
        content['images'].append(
            dict(id=9, file_name='no.jpg', width=40, height=30)
        )
        content['images'] = [
            x for x in content['images'] if x['file_name'] != 'empty.jpg'
        ]

    edit_coco(folder, change)
    kinds = sorted(x.kind for x in read_corrected(folder, 'coco').issues)
    assert kinds == [
        'box_clipped',
        'empty_box',
        'missing_annotation',
        'missing_image',
        'unknown_class',
    ]
    edit_voc(
        folder,
        'a.xml',
        ('<name>a</name>', '<name>rust</name>'),
        ('<xmax>30</xmax>', '<xmax>50</xmax>'),
    )
    (folder / 'voc/empty.xml').rename(folder / 'voc/no.xml')
    kinds = sorted(x.kind for x in read_corrected(folder, 'voc').issues)
    assert kinds == [
        'box_clipped',
        'missing_annotation',
        'missing_image',
        'unknown_class',
    ]
    with pytest.raises(InputError, match='say by --format'):
        find_format(folder)


@pytest.mark.parametrize('form', ['coco', 'voc'])
def test_image_and_labels_gone__left_out(folder, tmp_path, form):
    (tmp_path / 'images/a.jpg').unlink()
    (folder / 'voc/a.xml').unlink()

    def change(content):
        content['images'] = content['images'][1:]
        content['annotations'] = content['annotations'][2:]

    edit_coco(folder, change)
    review = read_corrected(folder, form)
    assert review.left_out == ['a.jpg'] and not review.issues


def test_find_format__an_image_that_is_gone_is_no_edit(folder, tmp_path):
    """With its labels of one format it is: that one was corrected."""
    (tmp_path / 'images/a.jpg').unlink()
    assert find_format(folder) == 'coco'
    (folder / 'voc/a.xml').unlink()
    assert find_format(folder) == 'voc'
    edit_coco(folder, lambda x: x['annotations'].pop())
    with pytest.raises(InputError, match='both'):
        find_format(folder)


def test_images_moved__are_named(folder, tmp_path):
    (tmp_path / 'images').rename(tmp_path / 'other')
    with pytest.raises(InputError, match='--images'):
        read_corrected(folder, 'coco')
    review = read_corrected(folder, 'coco', str(tmp_path / 'other'))
    assert review.counts() == dict(kept=4)


def test_broken_file__one_issue(folder):
    (folder / 'coco.json').write_text('{')
    (issue,) = read_corrected(folder, 'coco').issues
    assert issue.kind == 'unreadable' and 'coco.json' in issue.message


def test_image_with_two_entries__one_issue(folder):
    def change(content):
        content['images'].append(dict(content['images'][0], id=9))
        content['annotations'][0]['image_id'] = 9

    edit_coco(folder, change)
    (issue,) = read_corrected(folder, 'coco').issues
    assert issue.kind == 'malformed_annotation'
    assert 'names the image a.jpg twice: merge its entries' in issue.message


def test_compare__own_class_goes_first():
    """Two classes in one place, exchanged in the file: nothing changed."""
    box = [0.0, 0.0, 10.0, 10.0]
    other = [0.0, 0.0, 10.0, 9.0]
    changes = compare([(0, box), (1, other)], [(1, other), (0, box)])
    assert [x.kind for x in changes] == ['kept', 'kept']
    # far apart: one is gone, another one is new
    changes = compare([(0, box)], [(0, [20.0, 20.0, 30.0, 30.0])])
    assert [x.kind for x in changes] == ['added', 'removed']


def test_whole_pixels__in_the_image_and_never_empty():
    assert whole_pixels([1.4, 2.6, 3.5, 9.51], 40, 30) == [1, 3, 4, 10]
    assert whole_pixels([5.1, 5.2, 5.3, 5.4], 40, 30) == [5, 5, 6, 6]
    assert whole_pixels([39.8, 29.9, 40, 30], 40, 30) == [39, 29, 40, 30]


def test_two_images_of_one_stem__are_refused(tmp_path):
    writer = VocWriter(tmp_path, CLASSES)
    pixels = np.zeros((9, 9, 3), np.uint8)
    writer.write(Frame('a.jpg', pixels), boxes_of())
    with pytest.raises(InputError, match=r'a\.png: another image'):
        writer.write(Frame('a.png', pixels), boxes_of())


def test_name_that_is_not_utf8__is_refused(tmp_path):
    writer = VocWriter(tmp_path, CLASSES)
    name = os.fsdecode(b'\xfc.png')
    with pytest.raises(InputError, match=r"'\\udcfc\.png': .* --formats coco"):
        writer.write(Frame(name, np.zeros((9, 9, 3), np.uint8)), boxes_of())
    assert not [*tmp_path.iterdir()]


def test_corrected_name_that_is_not_utf8__is_named(tmp_path):
    (tmp_path / 'voc').mkdir()
    (tmp_path / 'voc' / os.fsdecode(b'\xfc.xml')).touch()
    with pytest.raises(InputError, match=r"'\\udcfc\.xml' is no name"):
        scan_voc(tmp_path, str(tmp_path), CLASSES, [])
