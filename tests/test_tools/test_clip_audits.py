"""Audits of boxes, and detections as labels: counts on a made-up image."""

import json
import sys

import audit_clip
import detections_to_coco
import numpy as np
import pytest
from mmengine.registry import DATASETS

from dsym.datasets import SteelSynthDataset
from dsym.engine.mean_teacher_loop import boxes_per_image

CLASSES = SteelSynthDataset.METAINFO['classes']
# (class, x, y, width, height, score), best first
FOUND = [
    (0, 0, 0, 20, 20, 0.9),  # right
    (0, 0, 0, 20, 18, 0.8),  # the same defect again
    (1, 0, 0, 20, 20, 0.7),  # of another class
    (0, 50, 50, 20, 8, 0.6),  # IoU of 0.4
    (0, 50, 50, 20, 4, 0.5),  # IoU of 0.2
    (0, 80, 0, 10, 10, 0.4),  # background
    (1, 50, 0, 20, 20, 0.3),  # right
]
TRUTH = [(0, 0, 0, 20, 20), (0, 50, 50, 20, 20), (1, 50, 0, 20, 20)]


@pytest.fixture
def prefix(tmp_path):
    """What tools/test.py saves of an image with these detections."""
    image = dict(id=1, file_name='a.png', width=100, height=100)
    truth = dict(
        images=[image],
        categories=[dict(id=i, name=x) for i, x in enumerate(CLASSES)],
        annotations=[
            dict(image_id=1, category_id=label, bbox=box, iscrowd=0)
            for label, *box in TRUTH
        ],
    )
    found = [
        dict(image_id=1, category_id=label, bbox=box, score=score)
        for label, *box, score in FOUND
    ]
    (tmp_path / 'x.gt.json').write_text(json.dumps(truth))
    (tmp_path / 'x.bbox.json').write_text(json.dumps(found))
    return str(tmp_path / 'x')


def test_boxes__which_are_right_and_why_the_others_are_not(prefix):
    boxes = audit_clip.Boxes(prefix)
    assert boxes.right.tolist() == [True, *[False] * 5, True]
    assert boxes.cause[1:6].tolist() == [
        'second box of a defect',
        'another class',
        'IoU of 0.3 to 0.5',
        'IoU of 0.1 to 0.3',
        'background',
    ]
    # two defects of the first class, one of the second
    assert audit_clip.wrong_ones(boxes) == {
        'second box of a defect': 1,
        'another class': 1,
    }


def test_judge__precision_at_the_recall_of_confidence(prefix):
    boxes = audit_clip.Boxes(prefix)
    boxes.classes = boxes.classes[:2]
    by_confidence = audit_clip.judge(boxes, boxes.confidence)
    # one right among two of the first class, none by one of the second
    assert by_confidence['recall'] == pytest.approx(1 / 3)
    first, second = by_confidence['classes'].values()
    assert (first['precision'], first['recall']) == (1, 0.5)
    assert second['precision'] is None
    assert first['auroc'] == 1 and second['auroc'] == 0
    worst = audit_clip.judge(boxes, -boxes.confidence)
    assert worst['classes'][CLASSES[0]]['precision'] == pytest.approx(1 / 5)


def test_choose__the_best_of_each_class():
    rows = [dict(category_id=x) for x in (0, 1, 0, 0, 1)]
    ranks = np.array([0.1, 0.9, 0.8, 0.3, 0.2])
    kept = detections_to_coco.choose(rows, ranks, [2.4, 0.6])
    assert kept == [False, True, True, True, False]


def test_detections_to_coco__others_are_crowds(prefix, tmp_path, monkeypatch):
    labeled = dict(
        type='SteelSynthDataset',
        data_root=str(tmp_path),
        num_images=6,
        num_workers=1,
    )
    config = tmp_path / 'config.py'
    config.write_text(
        "custom_imports = dict(imports=['dsym'])\n"
        f'train_dataloader = dict(dataset={labeled!r})\n'
    )
    out = tmp_path / 'pseudo.json'
    arguments = [prefix, '--labeled', str(config), '--out', str(out)]
    monkeypatch.setattr(sys, 'argv', ['x', *arguments, '--share', '1.0'])
    assert detections_to_coco.main() == 0
    rates = boxes_per_image(DATASETS.build(labeled))
    expected = [
        min(round(rate), sum(x[0] == i for x in FOUND))
        for i, rate in enumerate(rates)
    ]
    content = json.loads(out.read_text())
    kept = [x for x in content['annotations'] if not x['iscrowd']]
    assert len(content['annotations']) == len(FOUND)
    assert [
        sum(x['category_id'] == i + 1 for x in kept) for i in range(6)
    ] == expected
    assert [x['name'] for x in content['categories']] == [*CLASSES]
    dataset = DATASETS.build(
        dict(
            type='VerifiedCocoDataset',
            ann_file=str(out),
            metainfo=dict(classes=CLASSES),
            verify_images=False,
            lazy_init=True,
        )
    )
    assert dataset.classes == CLASSES
