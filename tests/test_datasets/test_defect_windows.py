from collections import Counter

import mmcv
import numpy as np
import pytest
import torch
from mmengine.dataset import BaseDataset
from tiny_diffusion import DEFECTS, coco_steel

from dsym.datasets import DefectWindowDataset, defect_windows
from dsym.datasets.defect_windows import free_box
from dsym.errors import InputError


class Boxes(BaseDataset):
    """Two images with a bright box each, and a box to ignore."""

    METAINFO = dict(classes=('a', 'b'))

    def __init__(self, folder):
        self.folder = folder
        super().__init__(serialize_data=False)

    def load_data_list(self):
        infos = []
        boxes = [[60, 40, 100, 80]], [[20, 90, 60, 110], [100, 20, 120, 70]]
        for i, of_image in enumerate(boxes):
            pixels = np.zeros((128, 160), np.uint8)
            for x1, y1, x2, y2 in of_image:
                pixels[y1:y2, x1:x2] = 255
            path = str(self.folder / f'{i}.png')
            mmcv.imwrite(pixels, path)
            real = [
                dict(bbox=x, bbox_label=i, ignore_flag=0) for x in of_image
            ]
            ignored = dict(bbox=[0, 0, 9, 9], bbox_label=1, ignore_flag=1)
            infos.append(dict(img_path=path, instances=[*real, ignored]))
        return infos


@pytest.fixture
def boxes(tmp_path):
    return Boxes(tmp_path)


def test_windows__one_a_box_and_as_many_of_each_class(boxes):
    labels = Counter(
        x for *_, x in DefectWindowDataset(boxes, balance=False).places
    )
    assert labels == {0: 1, 1: 2}
    balanced = DefectWindowDataset(boxes, repeat=3)
    assert Counter(x for *_, x in balanced.places) == {0: 6, 1: 6}


def test_windows__of_real_images_alone(tmp_path):
    real = dict(coco_steel(tmp_path), pipeline=[])
    # painting would fail
    augmented = dict(
        type='DiffusionAugment', dataset=real, painter=dict(type='No')
    )
    windows = DefectWindowDataset(augmented, balance=False)
    assert [x[:2] for x in windows.places] == [
        (i, j)
        for i, of_image in enumerate(DEFECTS)
        for j in range(len(of_image))
    ]


@pytest.mark.parametrize('seed', range(8))
def test_boxes__are_where_the_defects_are(boxes, seed):
    np.random.seed(seed)
    windows = DefectWindowDataset(boxes, size=80)
    for i in range(len(windows)):
        window = windows[i]
        assert window['inputs'].shape == (1, 80, 80)
        assert window['inputs'].min() >= -1 and window['inputs'].max() <= 1
        label = windows.places[i][-1]
        assert window['labels'][0] == label
        x1, y1, x2, y2 = (window['boxes'][0] * 80).round().long().tolist()
        inside = window['inputs'][0, y1 + 2 : y2 - 2, x1 + 2 : x2 - 2]
        assert inside.min() > 0.99
        mask = torch.ones(80, 80, dtype=torch.bool)
        for box in window['boxes'] * 80:
            x1, y1, x2, y2 = box.round().long().tolist()
            mask[max(y1 - 2, 0) : y2 + 2, max(x1 - 2, 0) : x2 + 2] = False
        outside = window['inputs'][0][mask]
        # another defect may be beside it, hidden or not
        if len(window['boxes']) == 2 or label == 0:
            assert outside.max() < -0.99


def test_others__are_hidden_half_of_the_time(boxes):
    """Of class 1 both lie in a window of 6 of the longer side: all of it."""
    np.random.seed(0)
    windows = DefectWindowDataset(
        boxes, size=80, context=(6.0, 6.0), balance=False, repeat=100
    )
    counts = Counter(
        len(windows[i]['boxes'])
        for i, (image, *_) in enumerate(windows.places)
        if image == 1
    )
    assert counts[1] + counts[2] == 200
    # a binomial's standard deviation is 7; some windows show one alone
    assert 60 < counts[2] < 125


@pytest.mark.parametrize('seed', range(4))
def test_clean__a_box_without_a_defect_alone(boxes, seed):
    np.random.seed(seed)
    windows = DefectWindowDataset(boxes, size=80, clean=1.0)
    sides = {(40, 40)}, {(40, 20), (20, 50)}
    for i in range(len(windows)):
        window = windows[i]
        assert window['labels'].tolist() == [
            len(boxes.metainfo['classes']) + 1
        ]
        assert window['boxes'].shape == (1, 4)
        x1, y1, x2, y2 = (window['boxes'][0] * 80).tolist()
        inside = window['inputs'][0][
            int(np.ceil(y1)) : int(y2), int(np.ceil(x1)) : int(x2)
        ]
        assert inside.max() == -1
        # of a true box's shape
        ratio = (x2 - x1) / (y2 - y1)
        known = [w / h for w, h in sides[windows.places[i][0]]]
        assert min(abs(ratio / x - 1) for x in known) < 1e-3


def test_clean__its_share_of_items(boxes):
    np.random.seed(0)
    windows = DefectWindowDataset(boxes, size=16, repeat=100, clean=0.25)
    labels = [int(x['labels'][0]) for x in windows]
    # 400 draws: the standard deviation is 8.7
    assert 70 <= labels.count(3) <= 130
    assert {*labels} == {0, 1, 3}


def test_free_box__none_where_there_is_no_room():
    rng = np.random.default_rng(0)
    whole = np.array([[0, 0, 64, 48]], np.float32)
    assert free_box((48, 64), whole, whole, rng) is None
    # 7 px of 8 that a box has at least
    small = np.array([[0, 0, 7, 7]], np.float32)
    assert free_box((48, 64), small, small, rng) is None
    for _ in range(20):
        x1, y1, x2, y2 = free_box((48, 64), whole / 2, whole / 2, rng)
        assert 8 <= y2 - y1 <= 24 and 8 <= x2 - x1 <= 32
        assert 0 <= x1 and 0 <= y1 and x2 <= 64 and y2 <= 48
        assert x1 >= 32 or y1 >= 24


def test_min_side__least_side_of_a_window(boxes):
    """At min_side 128, the image's height, a window keeps the px it has."""
    np.random.seed(0)
    windows = DefectWindowDataset(
        boxes, size=128, min_side=128, context=(1, 1)
    )
    box = windows[0]['boxes'][0] * 128
    assert (box[2:] - box[:2]).tolist() == [40, 40]
    windows.min_side = 1
    # now a window is as large as the box
    assert windows[0]['boxes'][0].tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize('balance', [True, False])
def test_no_box__is_refused(tmp_path, balance):
    dataset = Boxes(tmp_path)
    dataset.load_data_list = lambda: [
        dict(img_path=str(tmp_path / '0.png'), instances=[])
    ]
    dataset._fully_initialized = False
    dataset.full_init()
    with pytest.raises(InputError, match='has no box, so there is no'):
        DefectWindowDataset(dataset, balance=balance)


def test_images__those_read_last_are_kept(boxes, monkeypatch):
    monkeypatch.setattr(defect_windows, 'KEPT', 1)
    windows = DefectWindowDataset(boxes)
    first, second = (boxes.get_data_info(i)['img_path'] for i in (0, 1))
    pixels = windows.image(first)
    assert windows.image(first) is pixels
    windows.image(second)
    assert [*windows.images] == [second]
    np.testing.assert_array_equal(windows.image(first), pixels)
