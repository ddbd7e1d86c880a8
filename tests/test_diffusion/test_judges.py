"""Judges: matches by hand, correlations of copies, a real detector."""

import cv2
import numpy as np
import pytest
import torch
from mmdet.apis import inference_detector, init_detector
from mmengine.registry import DefaultScope
from mmengine.structures import InstanceData
from tiny_detector import CLASSES, write_detector
from tiny_diffusion import write_steel
from torchvision.ops import box_iou

from dsym.diffusion.examples import read_image
from dsym.diffusion.judges import (
    CopyJudge,
    DetectorJudge,
    best_match,
    describe,
    rivals,
    shows_defect,
)
from dsym.diffusion.synthetic_settings import LabelledSet
from dsym.errors import InputError, MissingFileError


def found(bboxes, scores, labels):
    return InstanceData(
        bboxes=np.array(bboxes, np.float32).reshape(-1, 4),
        scores=np.array(scores, np.float32),
        labels=np.array(labels, int),
    )


BOXES = np.array([[0, 0, 10, 10], [20, 20, 40, 40]], float)
LABELS = np.array([0, 1])


def test_best_match__highest_product_of_the_class():
    detections = found(
        [
            [0, 0, 10, 10],  # of class 1: does not count
            [0, 0, 10, 5],  # IoU 0.5, score 0.8: 0.4
            [0, 0, 10, 8],  # IoU 0.8, score 0.4: 0.32
            [20, 30, 40, 50],  # IoU 200 / 600
        ],
        [0.9, 0.8, 0.4, 0.6],
        [1, 0, 0, 1],
    )
    best = best_match(detections, BOXES, LABELS)
    expected = [[0.5, 0.8], [1 / 3, 0.6]]
    np.testing.assert_allclose(best, expected, rtol=1e-6)


@pytest.mark.parametrize(
    'min_iou, min_score, expected',
    [
        (0.0, 0.0, [0.45, 0.9]),  # product 0.405
        (0.5, 0.2, [0.6, 0.5]),  # 0.3, but passes both
        (0.5, 0.7, [0.6, 0.5]),  # none passes both
        (0.7, 0.2, [0.8, 0.1]),  # found, if hardly
        (0.9, 0.2, [0.45, 0.9]),  # nor an IoU of that
    ],
)
def test_best_match__one_that_passes_both_thresholds_first(
    min_iou, min_score, expected
):
    detections = found(
        [
            [0, 0, 10, 4.5],
            [0, 0, 10, 6],
            [0, 0, 10, 8],
            [0, 0, 10, 10],  # of another class
        ],
        [0.9, 0.5, 0.1, 1.0],
        [0, 0, 0, 1],
    )
    best = best_match(detections, BOXES, LABELS, min_iou, min_score)
    np.testing.assert_allclose(best[0], expected, rtol=1e-6)
    assert best[1].tolist() == [0, 0]


@pytest.mark.parametrize(
    'detections',
    [
        found([], [], []),
        found([[50, 50, 60, 60]], [0.9], [0]),  # touches neither
        found([[0, 0, 10, 10]], [0.9], [2]),  # of no class of theirs
    ],
)
def test_best_match__none_is_zeros(detections):
    assert best_match(detections, BOXES, LABELS).tolist() == [[0, 0]] * 2
    none = best_match(detections, BOXES[:0], LABELS[:0])
    assert none.shape == (0, 2)


@pytest.fixture(scope='module')
def labelled(tmp_path_factory):
    return write_steel(tmp_path_factory.mktemp('steel'))


def pasted(labelled, flips=(), gain=1.0, shift=0.0):
    """Image 0's first defect, 16 x 16 px, in an image of its own."""
    part = read_image(labelled.infos[0]['img_path'], 1)[10:26, 8:24]
    for axis in flips:
        part = np.flip(part, axis)
    image = np.full((64, 80, 1), 120.0)
    image[30:46, 40:56] = gain * part.astype(float) + shift
    return image, np.array([[40.0, 30, 56, 46]])


@pytest.mark.parametrize('flips', [(), (0,), (1,), (0, 1)])
@pytest.mark.parametrize('gain, shift', [(1, 0), (2, 7), (0.5, -20)])
def test_copies__are_found_flipped_and_of_any_contrast(
    labelled, flips, gain, shift
):
    judge = CopyJudge(labelled)
    image, box = pasted(labelled, flips, gain, shift)
    assert judge(image, box, np.array([0])) == pytest.approx(1, abs=1e-5)
    # a copy of a spot is none of a line
    assert judge(image, box, np.array([1])) < 0.5


def test_copies__noise_is_none_and_an_unknown_class_is_0(labelled):
    judge = CopyJudge(labelled)
    noise = np.random.default_rng(9).integers(0, 256, (64, 80, 1), np.uint8)
    boxes = np.array([[0.0, 0, 80, 64], [10, 10, 50, 60], [5, 5, 40, 40]])
    alike = judge(noise, boxes, np.array([0, 1, 7]))
    # of 1024 correlations by chance the deviation is 1/32
    assert (np.abs(alike[:2]) < 0.35).all()
    assert alike[2] == 0


def test_describe__is_numpys_correlation(labelled):
    """With OpenCV's resizing, which is part of the definition."""
    image = read_image(labelled.infos[3]['img_path'], 1)
    boxes = [4, 4, 44, 16], [52.2, 35.8, 70, 56]
    crops = [image[4:16, 4:44, 0], image[36:56, 52:70, 0]]
    a, b = (
        cv2.resize(x.astype(np.float32), (32, 32), interpolation=3).ravel()
        for x in crops
    )
    expected = np.corrcoef(a, b)[0, 1]
    mine = describe(image, boxes[0]) @ describe(image, boxes[1])
    assert mine == pytest.approx(expected, abs=1e-5)


def test_describe__where_nothing_varies_or_nothing_is(labelled):
    flat = np.full((20, 20, 1), 100, np.uint8)
    assert not describe(flat, [2, 2, 12, 12]).any()
    # less than a pixel, and at the image's edge
    for box in ([3, 3, 3.2, 3.2], [19.9, 19.9, 20, 20]):
        assert describe(flat, box).shape == (1024,)


@pytest.fixture(scope='module')
def detector(tmp_path_factory):
    folder = tmp_path_factory.mktemp('detector')
    return write_detector(folder, max_per_img=300)._asdict()


def test_detector__as_mmdets_own_inference(detector, labelled):
    paths = [x['img_path'] for x in labelled.infos[:2]]
    model = init_detector(**detector, device='cpu')
    pipeline = model.cfg.test_dataloader.dataset.pipeline
    model.cfg.test_dataloader.dataset.pipeline = [
        x for x in pipeline if not x['type'].endswith('LoadAnnotations')
    ]
    judge = DetectorJudge(**detector, classes=CLASSES)
    boxes = np.array([[0, 0, 80, 64], [5, 8, 60, 40], [10, 20, 30, 50]], float)
    labels = np.array([3, 0, 5])
    found = judge(paths)
    answers = [
        best_match(x, boxes[i:], labels[i:]) for i, x in enumerate(found)
    ]
    assert [x.shape for x in answers] == [(3, 2), (2, 2)]
    for path, answer, first in zip(paths, answers, (0, 1)):
        detected = inference_detector(model, path).pred_instances
        for (iou, score), box, label in zip(
            answer, boxes[first:], labels[first:]
        ):
            mine = detected[detected.labels == label]
            ious = box_iou(torch.tensor(box)[None], mine.bboxes.double())[0]
            best = (ious * mine.scores).argmax()
            assert ious[best] > 0
            assert iou == pytest.approx(float(ious[best]), abs=1e-4)
            assert score == pytest.approx(float(mine.scores[best]), abs=1e-5)
    assert not best_match(found[1], boxes + 1000, labels).any()


def test_detector__missing_file_is_named(detector, tmp_path):
    for name in detector:
        file = str(tmp_path / 'nothing.pth')
        with pytest.raises(MissingFileError) as error:
            DetectorJudge(**{**detector, name: file}, classes=CLASSES)
        assert f'gate.detector.{name}={file}' in str(error.value)


def test_detector__that_does_not_fit_its_config_is_refused(detector, tmp_path):
    """mmdet's own loading keeps random weights where a name is missing."""
    whole = torch.load(detector['checkpoint'], weights_only=False)
    lost = next(x for x in whole['state_dict'] if 'bbox_head' in x)
    del whole['state_dict'][lost]
    path = str(tmp_path / 'half.pth')
    torch.save(whole, path)
    with pytest.raises(InputError, match=rf'half\.pth: 1 of .* {lost}'):
        DetectorJudge(detector['config'], path, CLASSES)


def test_detector__of_other_classes_is_refused(detector):
    with pytest.raises(InputError) as error:
        DetectorJudge(**detector, classes=('dent', 'rust'))
    assert 'knows a, b' in str(error.value)
    assert 'has dent, rust' in str(error.value)


def found_in(*rows):
    """Detections of a box, a score and a label each."""
    boxes, scores, labels = zip(*rows)
    return InstanceData(
        bboxes=np.array(boxes, float),
        scores=np.array(scores),
        labels=np.array(labels),
    )


def test_shows_defect__where_nobody_painted_one():
    found = found_in(([0, 0, 10, 10], 0.4, 0), ([40, 40, 60, 60], 0.9, 0))
    corner, middle = [0.0, 0, 11, 11], [41.0, 40, 60, 60]
    both, nothing = np.array([corner, middle]), np.zeros((0, 4))
    assert shows_defect(found, both, nothing, 0.3).tolist() == [True, True]
    assert shows_defect(found, both, nothing, 0.5).tolist() == [False, True]
    assert shows_defect(found, nothing, nothing, 0.3).tolist() == []
    # what was painted there since is what is found
    assert shows_defect(found, both, both[1:], 0.3).tolist() == [True, False]


def test_shows_defect__of_one_that_was_painted_out_in_quarters():
    """Whose whole is found: with a quarter it has an IoU of 1 in 4."""
    whole = np.array([[0.0, 0, 40, 40]])
    quarters = np.array(
        [[x, y, x + 20, y + 20] for x in (0, 20) for y in (0, 20)], float
    )
    found = found_in((whole[0], 0.9, 0))
    nothing = np.zeros((0, 4))
    assert not shows_defect(found, quarters, nothing, 0.3).any()
    assert shows_defect(found, whole, nothing, 0.3).all()


def test_rivals__of_another_class_in_the_same_place():
    """An IoU of 0.3 is that of 10 x 10 with 10 x 3 of it."""
    boxes = np.array([[0.0, 0, 10, 10], [50, 50, 60, 60]])
    found = found_in(
        ([0, 0, 10, 10], 0.9, 0),  # its own
        ([0, 0, 10, 3.1], 0.5, 1),
        ([0, 0, 10, 2.9], 0.8, 1),
        ([50, 50, 60, 60], 0.2, 0),
        ([50, 50, 60, 58], 0.3, 0),
    )
    assert rivals(found, boxes, np.array([0, 1])).tolist() == [0.5, 0.3]
    assert rivals(found, boxes, np.array([1, 0])).tolist() == [0.9, 0]
    assert rivals(found, boxes[:0], np.zeros(0, int)).tolist() == []
    nothing = found[np.zeros(5, bool)]
    assert rivals(nothing, boxes, np.array([0, 1])).tolist() == [0, 0]


def test_detector__leaves_the_scope_of_the_run(detector):
    """Names of the run's own config are looked up after it."""
    DefaultScope.get_instance('a run', scope_name='mmyolo')
    DetectorJudge(**detector, classes=CLASSES)
    assert DefaultScope.get_current_instance().scope_name == 'mmyolo'


def test_copies__in_colour(tmp_path):
    """The mean of a colour's channels, not its luma, on both sides."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 255, (40, 40, 3), np.uint8)
    path = str(tmp_path / 'colour.png')
    assert cv2.imwrite(path, image[..., ::-1])
    box = [4, 4, 36, 36]
    info = dict(img_path=path, instances=[dict(bbox=box, bbox_label=0)])
    judge = CopyJudge(LabelledSet(dict(classes=['a']), [info]))
    (found,) = judge(image, np.array([box]), np.array([0]))
    assert found == pytest.approx(1, abs=1e-5)
