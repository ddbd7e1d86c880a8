from collections import Counter

import mmcv
import numpy as np
import pytest
import torch
from mmengine.dataset import BaseDataset

from dsym.datasets import DefectWindowDataset


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
        # another defect may be in the window with less than half of it
        if len(window['boxes']) == 2 or label == 0:
            assert outside.max() < -0.99
