"""``tools/test.py --tta``: the 224 px pipelines' four views of an image."""

import pickle

import cv2
import pytest
import torch
from mmcv.ops import batched_nms
from mmcv.transforms import Compose
from mmdet.apis import DetInferencer
from mmdet.structures.bbox import bbox_flip
from mmengine.config import Config
from mmengine.registry import init_default_scope
from tiny_detector import CLASSES, CONFIGS, write_detector, write_pictures
from tiny_run import call_script

TOOLS = CONFIGS.parent / 'tools'
PIPELINES = CONFIGS / '_base_' / 'datasets' / 'pipelines_224.py'
NAMES = ['0.png', '1.png']
WIDTH, HEIGHT = 50, 30  # at 224 px padded by 45 above and below
DIRECTIONS = {'horizontal': 1, 'vertical': 0, 'diagonal': -1}  # of cv2.flip
NMS = dict(type='nms', iou_threshold=0.6)


@pytest.fixture(scope='module')
def files(tmp_path_factory):
    """A detector with the pipelines, pictures without a box, checkpoint."""
    folder = tmp_path_factory.mktemp('tta')
    tiny = write_detector(folder / 'tiny', max_per_img=40)
    images = write_pictures(folder / 'images', NAMES)
    config = Config.fromfile(tiny.config)
    pipelines = Config.fromfile(PIPELINES)
    config.tta_model = pipelines.tta_model
    config.tta_pipeline = pipelines.tta_pipeline
    truth = folder / 'truth.json'
    image = '{{"id": {0}, "file_name": "{0}.png", "width": 50, "height": 30}}'
    truth.write_text(
        f'{{"images": [{image.format(0)}, {image.format(1)}], '
        '"annotations": [], "categories": ['
        + ', '.join(
            f'{{"id": {i}, "name": "{x}"}}' for i, x in enumerate(CLASSES)
        )
        + ']}'
    )
    config.test_dataloader.dataset = dict(
        type='mmdet.CocoDataset',
        ann_file=str(truth),
        data_prefix=dict(img=f'{images}/'),
        metainfo=dict(classes=CLASSES),
        test_mode=True,
        pipeline=pipelines.test_pipeline,
    )
    path = folder / 'config.py'
    config.dump(str(path))
    return folder, path, tiny.checkpoint, images


def detections_of_flipped_files(files):
    """Boxes in pixels of the images as they were, per image and view."""
    _, config, checkpoint, images = files
    inferencer = DetInferencer(str(config), checkpoint, show_progress=False)
    found = []
    for name in NAMES:
        views = []
        for direction in (None, *DIRECTIONS):
            image = cv2.imread(str(images / name))
            if direction:
                image = cv2.flip(image, DIRECTIONS[direction])
            result = inferencer(image, return_datasamples=True)
            boxes = result['predictions'][0].pred_instances.cpu()
            if direction:
                boxes.bboxes = bbox_flip(
                    boxes.bboxes, (HEIGHT, WIDTH), direction
                )
            views.append(boxes)
        found.append(views[0].cat(views))
    return found


def as_rows(boxes, scores, labels):
    """Rows of box, score and label, in an order that ties do not change."""
    rows = torch.cat([boxes, scores[:, None], labels[:, None]], 1).tolist()
    return torch.tensor(sorted(rows, key=lambda x: [round(v, 1) for v in x]))


def test_is_the_merge_of_four_flipped_files(files):
    folder, config, checkpoint, _ = files
    out = folder / 'found.pkl'
    done = call_script(
        TOOLS / 'test.py', config, checkpoint, '--tta', '--out', out,
        '--work-dir', folder / 'work',
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = [x['pred_instances'] for x in pickle.loads(out.read_bytes())]
    expected = detections_of_flipped_files(files)
    assert len(found) == len(expected) == len(NAMES)
    for ours, boxes in zip(found, expected):
        merged, kept = batched_nms(
            boxes.bboxes, boxes.scores, boxes.labels, NMS
        )
        assert len(kept) < len(boxes)  # views find the same things
        torch.testing.assert_close(
            as_rows(ours['bboxes'], ours['scores'], ours['labels']),
            as_rows(merged[:, :4], merged[:, 4], boxes.labels[kept]),
            rtol=1e-3,
            atol=2e-2,
        )


def test_views__flips_of_one_another(files):
    _, config, _, images = files
    init_default_scope('mmyolo')
    views = Compose(Config.fromfile(config).tta_pipeline)(
        dict(
            img_path=str(images / NAMES[0]),
            img_id=0,
            instances=[],
            height=HEIGHT,
            width=WIDTH,
        )
    )
    first, *others = views['inputs']
    assert first.shape == (3, 224, 224)
    for dims, view in zip(([2], [1], [1, 2]), others):
        assert torch.equal(view, first.flip(dims))
    metas = [x.metainfo for x in views['data_samples']]
    assert [x['flip_direction'] for x in metas] == [None, *DIRECTIONS]
    # 30 px are 134 here: as much above as below, so that no flip moves it
    assert all(list(x['pad_param']) == [45, 45, 0, 0] for x in metas)
