"""Predictions are those of mmdet's own functions."""

import logging
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmcv.transforms import Compose
from mmdet.apis import inference_detector, init_detector
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.structures import InstanceData
from mmyolo.models.layers import RepVGGBlock
from tiny_detector import CLASSES, picture, write_pictures

from dsym.errors import InputError
from dsym.inference import build_predictor, resolve_model
from dsym.inference.fused_conv import FusedConv
from dsym.inference.postprocess import select_boxes
from dsym.inference.predictor import image_pipeline
from dsym.inference.sources import Frame
from dsym.inference.stream import run


def same(ours, theirs):
    assert len(ours) == len(theirs) > 0
    for key in ('bboxes', 'scores'):
        torch.testing.assert_close(
            ours[key], theirs[key], rtol=1e-3, atol=1e-3
        )
    assert torch.equal(ours.labels, theirs.labels)


def test_image__as_inference_detector_of_mmdet(tiny, predictor):
    image = picture(50, 30)
    peer = init_detector(*tiny, device='cpu')
    (found,) = predictor([image])
    same(found, inference_detector(peer, image).pred_instances)
    assert predictor.classes == CLASSES
    modules = [*predictor.backend.model.modules()]
    assert not [x for x in modules if isinstance(x, RepVGGBlock)]
    assert sum(isinstance(x, FusedConv) for x in modules) == 185


def test_batch__as_test_step_on_files(tiny, predictor, tmp_path):
    names = 'a.png', 'b.png', 'c.png'
    write_pictures(tmp_path, names, width=30, height=50)
    peer = init_detector(*tiny, device='cpu')
    pipeline = Compose(peer.cfg.test_dataloader.dataset.pipeline)
    packed = [
        pipeline(dict(img_path=str(tmp_path / x), img_id=0, instances=[]))
        for x in names
    ]
    with torch.no_grad():
        expected = peer.test_step(pseudo_collate(packed))
    found = predictor([picture(30, 50, seed) for seed in range(3)])
    for ours, theirs in zip(found, expected):
        same(ours, theirs.pred_instances)


def test_other_sizes_in_the_batch__change_nothing(predictor):
    images = [picture(50, 30), picture(30, 50, 1), picture(100, 60, 2)]
    together = predictor(images)
    for image, found in zip(images, together):
        same(found, predictor([image])[0])
        height, width = image.shape[:2]
        assert found.bboxes.min() >= 0
        assert found.bboxes[:, 2].max() <= width
        assert found.bboxes[:, 3].max() <= height


def test_boxes__are_in_pixels_of_the_original():
    """64 x 64 input of a 100 x 50 image: scaled by 0.64, 16 px above."""
    boxes = torch.tensor([[6.4, 16.0 + 6.4, 32.0, 16.0 + 32.0]])
    meta = dict(
        ori_shape=(50, 100),
        scale_factor=(0.64, 0.64),
        pad_param=(16, 16, 0, 0),
    )
    cfg = dict(nms=dict(type='nms', iou_threshold=0.7), max_per_img=9)
    found = select_boxes(boxes, torch.tensor([[0.1, 0.9]]), cfg, meta)
    torch.testing.assert_close(
        found.bboxes, torch.tensor([[10.0, 10.0, 50.0, 50.0]])
    )
    assert found.labels.tolist() == [1]


def test_large_image__is_said_once(predictor, monkeypatch):
    """Above 4 times the network's 64 px."""
    said = []
    monkeypatch.setattr(
        'dsym.inference.predictor.print_log', lambda *a: said.append(a)
    )
    fresh = type(predictor)(predictor.backend, predictor.pipeline, CLASSES)
    fresh([picture(256, 30), picture(30, 256)])
    assert said == []
    fresh([picture(257, 30), picture(300, 30)])
    fresh([picture(30, 400)])
    ((message, _, level),) = said
    assert level == logging.WARNING
    assert message.startswith('an image of 257x30 px is reduced to 64 px')
    assert message.endswith('tiles of about 64 px')


def test_threshold__drops_lower_scores_and_sorts(predictor):
    boxes = InstanceData(
        bboxes=torch.tensor([[0.0, 0.0, 9.0, 9.0]] * 3),
        scores=torch.tensor([0.2, 0.5, 0.7]),
        labels=torch.tensor([0, 1, 2]),
    )
    high = type(predictor)(None, None, CLASSES, 0.5)
    assert high.choose(boxes).labels.tolist() == [2, 1]


def test_lower_threshold_than_the_config__is_obeyed(tiny):
    config = Config.fromfile(tiny.config)
    assert config.model.test_cfg.score_thr > 0
    found = build_predictor(resolve_model(*tiny), 0.0)
    assert found.backend.model.bbox_head.test_cfg.score_thr == 0.0


@pytest.mark.parametrize('which', ['config', 'checkpoint'])
def test_missing_file__is_named(tiny, which):
    files = tiny._replace(**{which: 'no.file'})
    with pytest.raises(InputError, match=f'no.file: no such {which}'):
        resolve_model(*files)


def test_foreign_weights__are_refused(tiny, tmp_path):
    content = torch.load(tiny.checkpoint)
    content['state_dict'].pop('backbone.stem.conv.weight')
    torch.save(content, tmp_path / 'x.pth')
    files = resolve_model(tiny.config, tmp_path / 'x.pth')
    with pytest.raises(InputError, match=r'1 of .*stem\.conv\.weight'):
        build_predictor(files, 0.0)


def test_teacher_and_student__names_the_tool(tiny, tmp_path):
    config = Config.fromfile(tiny.config)
    config.model = dict(type='DSYMDetector', detector=config.model)
    config.dump(str(tmp_path / 'semi.py'))
    files = resolve_model(tmp_path / 'semi.py', tiny.checkpoint)
    with pytest.raises(InputError, match=r'tools/export_detector\.py'):
        build_predictor(files, 0.0)


@pytest.mark.parametrize(
    'path',
    [
        'configs/yolov9/yolov9-t_1xb16-200e_neu-det-labeled20.py',
        'configs/yolov9/yolov9-t_8xb16-500e_coco.py',
        'projects/dsym/weights/yolov9-t_neu-det-labeled20.py',
    ],
)
def test_padding__is_grey_in_all_channels(path):
    """mmyolo repeats an int of ``pad_val``, and a float is blue alone."""
    path = Path(__file__).resolve().parents[2] / path
    found = image_pipeline(Config.fromfile(path))(
        dict(img=np.full((120, 200, 3), 114, np.uint8), img_id=0)
    )['inputs']
    assert found.unique().tolist() == [114]


def test_choose__nothing_thinner_than_a_pixel(predictor):
    """Two are what clamping left of boxes in the padding."""
    rows = [[10, 100, 60, 100], [10, 99.6, 60, 100], [10, 99, 60, 100]]
    found = predictor.choose(
        InstanceData(
            bboxes=torch.tensor(rows),
            scores=torch.ones(3),
            labels=torch.zeros(3),
        )
    )
    assert found.bboxes.tolist() == rows[2:]


def test_image_without_a_short_side__goes_into_no_batch(predictor, tmp_path):
    """At 64 px 60,000 px are 64 and 20 px are 0.02."""
    long = np.zeros((20, 60000, 3), np.uint8)
    with pytest.raises(cv2.error):
        predictor([long])
    names = []

    class Names:
        def write(self, frame, boxes):
            names.append(frame.name)

        def flush(self):
            return {}

        def close(self):
            pass

    square = np.zeros((64, 64, 3), np.uint8)
    done = []
    counts = run(
        predictor,
        [Frame('long', long), Frame('square', square)],
        [Names()],
        batch_size=2,
        done=lambda frames, _: done.extend(frames),
    )
    assert names == ['square']
    assert (counts.images, counts.unreadable) == (1, 1)
    assert 'cut it into tiles' in done[0].error
