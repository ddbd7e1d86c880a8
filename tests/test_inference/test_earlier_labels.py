"""Labels of an earlier run: corrections are noticed, the rest is removed."""

import numpy as np
import pytest
import torch
from test_inference.test_corrections import edit_coco, edit_voc, write_labels
from test_inference.test_writers import boxes_of

from dsym.errors import InputError
from dsym.inference.earlier_labels import (
    check_unchanged,
    find_change,
    remove_labels,
)


def random_labels(seed):
    """Boxes with quarters of pixels, and every mark, in 40 x 30 images."""
    rng = np.random.default_rng(seed)
    labels = {}
    for name in ('a.jpg', 'sub/b.jpg', 'sub/deep/c.jpg'):
        x1, y1 = rng.uniform(0, [[30], [20]], (2, 40)).round(2)
        x2, y2 = (x1, y1) + rng.choice([0.25, 1.005, 3.5, 10], (2, 40))
        rows = zip(rng.integers(0, 6, 40), rng.uniform(0, 1, 40))
        boxes = boxes_of(
            *((*a, *b) for a, b in zip(rows, zip(x1, y1, x2, y2)))
        )
        boxes.weights = torch.from_numpy(rng.choice([1.0, 0.123456], 40))
        boxes.clip_scores = torch.from_numpy(rng.uniform(0, 1, 40))
        labels[name] = boxes
    labels['empty.jpg'] = boxes_of()
    return labels


@pytest.fixture
def folder(tmp_path):
    return write_labels(tmp_path, random_labels(0))


@pytest.mark.parametrize('seed', range(5))
def test_untouched__no_change(tmp_path, seed):
    folder = write_labels(tmp_path, random_labels(seed))
    assert len(list((folder / 'voc').rglob('*.xml'))) == 4
    assert find_change(folder) is None
    (folder / 'coco.json').unlink()
    assert find_change(folder) is None


def test_nothing_there__no_change(folder, tmp_path):
    assert find_change(tmp_path / 'no') is None
    (folder / 'coco.json').unlink()
    for file in (folder / 'voc').rglob('*.xml'):
        file.unlink()
    assert find_change(folder) is None


def change_coco(folder):
    edit_coco(folder, lambda x: x['annotations'].pop())
    return 'coco.json'


def change_xml(folder):
    edit_voc(folder, 'a.xml', ('<difficult>0<', '<difficult>1<'))
    return 'voc/a.xml'


def remove_xml(folder):
    (folder / 'voc/sub/b.xml').unlink()
    return 'voc/sub/b.xml'


def add_xml(folder):
    (folder / 'voc/new.xml').write_text('<annotation/>')
    return 'voc/new.xml'


def remove_written(folder):
    (folder / 'written.json').unlink()
    return 'coco.json'


@pytest.mark.parametrize(
    'act', [change_coco, change_xml, remove_xml, add_xml, remove_written]
)
def test_change__is_named(folder, act):
    name = act(folder)
    assert find_change(folder) == folder / name
    with pytest.raises(InputError, match=f'{name} is not as .*--overwrite'):
        check_unchanged(folder)


def test_remove__leaves_what_is_not_of_the_tool(folder):
    others = [folder / 'corrected.json', folder / 'voc/sub/note.txt']
    for file in others:
        file.write_text('x')
    remove_labels(folder)
    left = [x for x in folder.rglob('*') if x.is_file()]
    assert sorted(left) == sorted(others)
    assert not (folder / 'voc/sub/deep').exists()
    for file in others:
        file.unlink()
    remove_labels(folder)
    assert list(folder.iterdir()) == []
