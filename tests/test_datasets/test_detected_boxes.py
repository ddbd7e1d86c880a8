"""Boxes of detectors go with their images, wherever these are moved."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATASETS, MODELS, init_default_scope
from tiny_clip import RESNET
from tiny_diffusion import CLASSES, DEFECTS, HEIGHT, WIDTH, coco_steel

from dsym.errors import InputError

CONFIG = (
    Path(__file__).resolve().parents[2]
    / 'configs/clip/clip-rn-t_1xb16-60e-detected_neu-det-labeled20.py'
)


@pytest.fixture(scope='module')
def pipeline():
    """That of the config, whose steps enlarge, move, flip and pad."""
    config = Config.fromfile(CONFIG)
    init_default_scope(config.default_scope)
    return config.train_dataloader.dataset.dataset.pipeline


def write(prefix, folder, rows, images=range(4), classes=CLASSES):
    """What tools/test.py writes; rows of image, label, corners and score."""
    truth = dict(
        images=[
            dict(
                id=i + 1,
                file_name=str(folder / f'{i}.png'),
                width=WIDTH,
                height=HEIGHT,
            )
            for i in images
        ],
        categories=[dict(id=i, name=x) for i, x in enumerate(classes)],
        annotations=[],
    )
    found = [
        dict(
            image_id=image + 1,
            category_id=label,
            bbox=[x1, y1, x2 - x1, y2 - y1],
            score=score,
        )
        for image, label, (x1, y1, x2, y2), score in rows
    ]
    Path(f'{prefix}.gt.json').write_text(json.dumps(truth))
    Path(f'{prefix}.bbox.json').write_text(json.dumps(found))
    return str(prefix)


def build(folder, pipeline, *prefixes, **options):
    return DATASETS.build(
        dict(
            type='DetectedBoxDataset',
            dataset=dict(coco_steel(folder), pipeline=pipeline),
            detections=[*prefixes],
            **options,
        )
    )


def test_boxes__go_where_the_toolbox_moves_true_ones(tmp_path, pipeline):
    """Detections that are the truth stay so in every view."""
    steel = tmp_path / 'steel'
    steel.mkdir()
    rows = [
        (i, label, box, 0.9)
        for i, of_image in enumerate(DEFECTS)
        for label, box in of_image
    ]
    prefix = write(tmp_path / 'all', steel, rows)
    dataset = build(steel, pipeline, prefix)
    assert len(dataset) == len(DEFECTS)
    views = set()
    for seed in range(6):
        np.random.seed(seed)
        for i in range(len(dataset)):
            sample = dataset[i]['data_samples']
            truth, found = sample.gt_instances, sample.detected
            boxes = found.bboxes.clamp(0, 192)
            # an enlarged view may cut a true box off
            assert 0 < len(truth) <= len(found) == len(DEFECTS[i])
            for box, label in zip(truth.bboxes.tensor, truth.labels):
                gaps = (boxes - box).abs().amax(1)
                assert gaps.min() < 0.05
                assert found.labels[gaps.argmin()] == label
            views.add(tuple(boxes[0].round().tolist()))
    assert len(views) > 12


def test_grader__gets_them_beside_its_own(tmp_path, pipeline):
    """Through the toolbox's collating and moving to a device."""
    steel = tmp_path / 'steel'
    steel.mkdir()
    rows = [
        (i, label, box, 0.9)
        for i, of_image in enumerate(DEFECTS)
        for label, box in of_image
    ]
    dataset = build(steel, pipeline, write(tmp_path / 'all', steel, rows))
    model = MODELS.build(
        dict(
            type='CLIPGrader',
            clip=dict(model_cfg=RESNET),
            classes=CLASSES,
            prompts=dict(
                misplaced=('a part of {defect_type}',), normal=('steel',)
            ),
            regions=dict(way='dense', image_size=192),
        )
    ).eval()
    np.random.seed(0)
    data = pseudo_collate([dataset[i] for i in range(len(dataset))])
    with torch.no_grad():
        samples = model.val_step(data)
    for sample, of_image in zip(samples, DEFECTS):
        # both are cut off at the image's edge
        last = sample.regions[-len(of_image) :]
        assert last.ious.min() > 0.99
        assert sorted(last.labels.tolist()) == sorted(x for x, _ in of_image)


PACK = dict(
    type='mmdet.PackDetInputs', meta_keys=('img_path', 'homography_matrix')
)
STILL = [
    dict(type='LoadImageFromFile'),
    dict(type='mmdet.LoadAnnotations', with_bbox=True),
    PACK,
]


def test_files__add_up_without_doubtful_boxes(tmp_path):
    steel = tmp_path / 'steel'
    steel.mkdir()
    first = write(
        tmp_path / 'first',
        steel,
        [(0, 1, (1, 2, 11, 22), 0.5), (0, 0, (5, 5, 9, 9), 0.049)],
        images=(0, 1),
    )
    second = write(
        tmp_path / 'second',
        steel,
        [(0, 0, (3, 4, 13, 24), 0.05), (3, 0, (0, 0, 8, 8), 0.3)],
        images=(0, 3),
    )
    dataset = build(steel, STILL, first, second)
    found = [dataset[i]['data_samples'].detected for i in range(4)]
    assert found[0].bboxes.tolist() == [[1, 2, 11, 22], [3, 4, 13, 24]]
    assert found[0].labels.tolist() == [1, 0]
    assert [len(x) for x in found] == [2, 0, 0, 1]  # none of the third at all
    assert all(x.bboxes.dtype == torch.float32 for x in found)
    stricter = build(steel, STILL, first, second, score_thr=0.4)
    found = [len(stricter[i]['data_samples'].detected) for i in range(4)]
    assert found == [1, 0, 0, 0]


def test_image_of_another_set__is_named(tmp_path):
    steel = tmp_path / 'steel'
    steel.mkdir()
    prefix = write(tmp_path / 'x', steel, [], images=(0, 7))
    with pytest.raises(InputError) as raised:
        build(steel, STILL, prefix)
    message = str(raised.value)
    assert message.startswith(f'{prefix}.gt.json names {steel}/7.png, which')
    assert 'none of the 4 images' in message and '\n' not in message


def test_files__faults_are_one_line(tmp_path):
    steel = tmp_path / 'steel'
    steel.mkdir()
    missing = str(tmp_path / 'no')
    with pytest.raises(InputError, match=r'no\.gt\.json does not exist: '):
        build(steel, STILL, missing)
    box = 0, 0, 8, 8
    for name, options, message in (
        ('order', dict(classes=CLASSES[::-1]), 'has the classes bright-line'),
        ('label', dict(rows=[(0, 2, box, 0.9)]), 'KeyError: 2'),
        ('image', dict(rows=[(5, 0, box, 0.9)]), 'KeyError: 6'),
    ):
        options = dict(rows=[]) | options
        prefix = write(tmp_path / name, steel, **options)
        with pytest.raises(InputError, match=message) as raised:
            build(steel, STILL, prefix)
        assert '\n' not in str(raised.value)
    Path(f'{prefix}.bbox.json').write_text('[')
    with pytest.raises(InputError, match=r'image\.bbox\.json is no JSON'):
        build(steel, STILL, prefix)


@pytest.mark.parametrize(
    'steps, message',
    [
        (
            [dict(type='mmyolo.LetterResize', scale=(64, 64)), PACK],
            'LetterResize in the pipeline .* TrackedLetterResize',
        ),
        (
            [dict(type='mmyolo.YOLOv5RandomAffine'), PACK],
            'YOLOv5RandomAffine .* TrackedRandomAffine',
        ),
        (
            [dict(type='mmdet.RandomAffine'), PACK],
            ' RandomAffine .* TrackedRandomAffine',
        ),
        (
            [dict(type='mmyolo.Mosaic', pre_transform=[]), PACK],
            'Mosaic .* leave it out',
        ),
        ([dict(type='mmdet.Expand'), PACK], 'Expand .* leave it out'),
        (
            [
                dict(
                    type='RandomChoice',
                    transforms=[[dict(type='mmdet.RandomShift')], []],
                ),
                PACK,
            ],
            'RandomShift .* leave it out',
        ),
        (
            [dict(type='mmdet.PackDetInputs', meta_keys=('img_path',))],
            'packs no homography_matrix: add it',
        ),
        ([], 'packs no img_path and no homography_matrix'),
    ],
)
def test_pipeline_that_does_not_say_where__is_refused(
    tmp_path, steps, message
):
    with pytest.raises(InputError, match=message):
        build(tmp_path / 'steel', steps)


def test_wrapper__is_refused(tmp_path):
    steel = dict(coco_steel(tmp_path), pipeline=STILL)
    wrapper = dict(type='RepeatDataset', dataset=steel, times=2)
    with pytest.raises(InputError, match=r'RepeatDataset.* is a wrapper'):
        DATASETS.build(
            dict(type='DetectedBoxDataset', dataset=wrapper, detections=[])
        )
