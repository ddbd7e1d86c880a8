"""What is written is what was found."""

import csv
import json
import os

import cv2
import numpy as np
import pytest
import torch
from mmengine.structures import InstanceData
from pycocotools.coco import COCO
from tiny_detector import picture

from dsym.errors import InputError
from dsym.inference.drawing import class_colors, draw_detections
from dsym.inference.sources import Frame
from dsym.inference.stream import batches
from dsym.inference.writers import (
    CocoWriter,
    CsvWriter,
    DrawingWriter,
    VideoWriter,
)

CLASSES = ('scratch', 'dent, deep')


def boxes_of(*rows):
    """Boxes from (label, score, x1, y1, x2, y2)."""
    table = torch.tensor(rows, dtype=torch.float32).reshape(-1, 6)
    return InstanceData(
        bboxes=table[:, 2:], scores=table[:, 1], labels=table[:, 0].long()
    )


FOUND = boxes_of((1, 0.75, 1.25, 2.5, 11.0, 22.125), (0, 0.5, 0, 0, 50, 30))


def test_csv__round_trip(tmp_path):
    writer = CsvWriter(tmp_path / 'x.csv', CLASSES)
    writer.write(Frame('sub/a.png', picture()), FOUND)
    writer.write(Frame('empty.png', picture()), boxes_of())
    writer.close()
    with open(tmp_path / 'x.csv', newline='') as file:
        rows = list(csv.DictReader(file))
    assert [x['image'] for x in rows] == ['sub/a.png'] * 2
    assert [x['class'] for x in rows] == ['dent, deep', 'scratch']
    read = [[float(x[k]) for k in ('x1', 'y1', 'x2', 'y2')] for x in rows]
    np.testing.assert_allclose(read, FOUND.bboxes, atol=0.005)
    assert [float(x['score']) for x in rows] == [0.75, 0.5]


def test_name_that_is_not_utf8__is_the_same_in_both_files(tmp_path):
    """0xfc alone, the Latin-1 of ü, is Python's U+DCFC."""
    name = os.fsdecode(b'\xfc.png')
    table = CsvWriter(tmp_path / 'x.csv', CLASSES)
    coco = CocoWriter(tmp_path / 'x.json', CLASSES, dict())
    for writer in (table, coco):
        writer.write(Frame(name, picture()), FOUND[:1])
        writer.close()
    row = (tmp_path / 'x.csv').read_text().splitlines()[1]
    assert row.startswith('\\udcfc.png,"dent, deep",0.7500,')
    text = (tmp_path / 'x.json').read_text()
    assert '"\\udcfc.png"' in text
    assert json.loads(text)['images'][0]['file_name'] == name


def test_csv_of_a_video__frame_and_time(tmp_path):
    writer = CsvWriter(tmp_path / 'x.csv', CLASSES, video=True)
    frame = Frame('v_000012.jpg', picture(), index=12, time=0.48)
    writer.write(frame, FOUND[:1])
    writer.close()
    header, row = (tmp_path / 'x.csv').read_text().splitlines()
    assert header.endswith('y2,frame,time') and row.endswith('12,0.480')


def test_coco__pycocotools_reads_images_and_boxes(tmp_path):
    writer = CocoWriter(tmp_path / 'x.json', CLASSES, dict(image_root='/r'))
    writer.write(Frame('a.png', picture()), FOUND)
    writer.write(Frame('empty.png', picture(30, 50)), boxes_of())
    writer.close()
    coco = COCO(str(tmp_path / 'x.json'))
    images = coco.loadImgs(coco.getImgIds())
    assert [x['file_name'] for x in images] == ['a.png', 'empty.png']
    assert [(x['width'], x['height']) for x in images] == [(50, 30), (30, 50)]
    first, second = coco.loadAnns(coco.getAnnIds())
    assert first['bbox'] == pytest.approx([1.25, 2.5, 9.75, 19.625], abs=0.01)
    assert first['area'] == pytest.approx(9.75 * 19.625, abs=0.2)
    assert (first['category_id'], first['score']) == (2, 0.75)
    assert second['image_id'] == 1
    assert coco.dataset['info'] == dict(image_root='/r')
    assert [x.name for x in tmp_path.iterdir()] == ['x.json']


@pytest.mark.parametrize('kind', [CsvWriter, CocoWriter])
def test_position__cuts_off_what_came_after(tmp_path, kind):
    def make(position=None):
        more = [dict()] if kind is CocoWriter else []
        return kind(tmp_path / 'x', CLASSES, *more, position=position)

    first = make()
    first.keep_parts = True
    first.write(Frame('a.png', picture()), FOUND)
    position = json.loads(json.dumps(first.flush()))
    first.write(Frame('lost.png', picture()), FOUND)
    first.flush()
    second = make(position)
    second.write(Frame('b.png', picture()), FOUND)
    text = second.close().read_text()
    assert 'lost' not in text
    assert text.count('a.png') == text.count('b.png')
    if kind is CocoWriter:
        content = json.loads(text)
        assert [x['id'] for x in content['images']] == [1, 2]
        assert [x['id'] for x in content['annotations']] == [1, 2, 3, 4]


def test_lost_results__are_said(tmp_path):
    with pytest.raises(InputError, match=r'x\.csv has lost results'):
        CsvWriter(tmp_path / 'x.csv', CLASSES, position=dict(csv=9))


def test_drawing__a_line_of_the_class_where_the_box_is():
    grey = np.full((120, 240, 3), 128, np.uint8)
    drawn = draw_detections(
        grey, boxes_of((1, 0.9, 100, 60, 140, 100)), CLASSES
    )
    assert drawn.shape == (240, 480, 3)  # twice, to be at least 480 px wide
    assert tuple(drawn[160, 200]) == class_colors(2)[1]
    assert tuple(drawn[160, 240]) == (128, 128, 128)
    assert (grey == 128).all()


def test_video__as_many_frames(tmp_path):
    writer = VideoWriter(tmp_path / 'x.mp4', CLASSES, 5.0)
    for seed in range(4):
        writer.write(Frame('x', picture(64, 48, seed)), FOUND)
    writer.close()
    capture = cv2.VideoCapture(str(tmp_path / 'x.mp4'))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 4
    assert capture.get(cv2.CAP_PROP_FRAME_WIDTH) == 512


def test_batches__none_gives_out_what_there_is():
    frames = [Frame(x) for x in 'abcde']
    given = [*frames[:3], None, None, *frames[3:]]
    names = [[x.name for x in batch] for batch in batches(given, 2)]
    assert names == [['a', 'b'], ['c'], ['d', 'e']]


def test_drawing__longer_than_a_jpeg_may_be(tmp_path):
    writer = DrawingWriter(tmp_path, CLASSES)
    image = np.zeros((500, 65501, 3), np.uint8)
    writer.write(Frame('scan.tif', image), boxes_of())
    writer.write(Frame('short.tif', image[:, :600]), boxes_of())
    assert sorted(x.name for x in tmp_path.iterdir()) == [
        'scan.tif.png',
        'short.tif.jpg',
    ]
