"""The teacher's boxes on their way between views."""

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.config import ConfigDict
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import InstanceData

from dsym.errors import InputError
from dsym.models.detectors.pseudo_labels import (
    between_views,
    homographies,
    move_boxes,
    predict_originals,
    predict_views,
)

CFG = ConfigDict(
    multi_label=False,
    score_thr=0.5,
    nms_pre=1000,
    nms=dict(type='nms', iou_threshold=0.7),
    max_per_img=100,
)


def boxes(*corners):
    return InstanceData(
        bboxes=torch.tensor(corners, dtype=torch.float32).view(-1, 4),
        labels=torch.arange(len(corners)),
    )


def move(given, x=0.0, y=0.0, scale=1.0, shape=(100, 200)):
    matrix = torch.tensor([[scale, 0, x], [0, scale, y], [0, 0, 1.0]])
    return move_boxes(given, matrix, shape)


def test_scaled_and_moved():
    given = boxes([10, 20, 30, 50])
    moved = move(given, x=5, y=-8, scale=2)
    assert moved.bboxes.tolist() == [[25, 32, 65, 92]]
    assert given.bboxes.tolist() == [[10, 20, 30, 50]]


def test_flipped():
    """A mirrored box is still x1 < x2."""
    flip = torch.tensor([[-1.0, 0, 200], [0, 1, 0], [0, 0, 1]])
    moved = move_boxes(boxes([10, 20, 30, 50]), flip, (100, 200))
    assert moved.bboxes.tolist() == [[170, 20, 190, 50]]


def test_clipped_to_width_and_height():
    moved = move(boxes([150, 60, 250, 140], [-40, -20, 40, 20]))
    assert moved.bboxes.tolist() == [[150, 60, 200, 100], [0, 0, 40, 20]]


@pytest.mark.parametrize('left, kept', [(9, False), (10, False), (11, True)])
def test_a_tenth_of_the_area_stays(left, kept):
    """Of a box 100 px wide, so many percent are in the image."""
    assert len(move(boxes([left - 100, 10, left, 60]))) == kept


@pytest.mark.parametrize('corners', ['{0}, 10, 12, 40', '10, {0}, 40, 12'])
@pytest.mark.parametrize('start, kept', [(10.0, False), (9.5, True)])
def test_two_pixels_of_each_side_stay(corners, start, kept):
    """Sides of 2 and 2.5 px."""
    corners = [float(x) for x in corners.format(start).split(',')]
    assert len(move(boxes(corners))) == kept


def test_what_belongs_to_a_box_stays_with_it():
    moved = move(boxes([300, 0, 340, 40], [10, 10, 50, 50]), x=1)
    assert moved.labels.tolist() == [1]
    assert moved.bboxes.tolist() == [[11, 10, 51, 50]]
    assert len(move(boxes())) == 0


def test_moved_in_float32_under_autocast():
    """bfloat16 knows 301 px to 2 px only."""
    with torch.autocast('cpu', dtype=torch.bfloat16):
        moved = move(boxes([301, 517, 333, 555]), x=0.25, shape=(640, 640))
    assert moved.bboxes.tolist() == [[301.25, 517, 333.25, 555]]
    assert moved.bboxes.dtype == torch.float32


def test_homographies():
    matrices = [np.diag([2.0, 3, 1]), np.eye(3)]
    samples = [
        DetDataSample(metainfo=dict(homography_matrix=x)) for x in matrices
    ]
    found = homographies(samples, 'cpu')
    assert found.dtype == torch.float32
    assert found.tolist() == [x.tolist() for x in matrices]


def test_homographies__missing():
    samples = [DetDataSample(metainfo=dict(homography_matrix=np.eye(3)))]
    samples.append(DetDataSample(metainfo=dict(img_shape=(640, 640))))
    with pytest.raises(InputError, match='use TrackedLetterResize') as error:
        homographies(samples, 'cpu')
    assert 'meta_keys of its mmdet.PackDetInputs' in str(error.value)


def test_between_views__by_way_of_the_original():
    """From 2x, 10 px to the right, to 3x and mirrored."""

    def view(*rows):
        return DetDataSample(metainfo=dict(homography_matrix=np.array(rows)))

    first = view([2.0, 0, 10], [0, 2, 0], [0, 0, 1])
    second = view([-3.0, 0, 600], [0, 3, 0], [0, 0, 1])
    found = between_views([first, second], [second, second], 'cpu')
    assert found.dtype == torch.float32
    # the original's x is (x' - 10) / 2, the other view's 600 - 3 x
    expected = [[-1.5, 0, 615], [0, 1.5, 0], [0, 0, 1]]
    torch.testing.assert_close(found[0], torch.tensor(expected))
    torch.testing.assert_close(found[1], torch.eye(3))


@pytest.fixture
def head():
    """mmyolo's YOLOv8 with one level of stride 32."""
    with DefaultScope.overwrite_default_scope('mmyolo'):
        made = MODELS.build(
            dict(
                type='YOLOv8Head',
                head_module=dict(
                    type='YOLOv8HeadModule',
                    num_classes=2,
                    in_channels=[16],
                    featmap_strides=[32],
                ),
                prior_generator=dict(
                    type='mmdet.MlvlPointGenerator', offset=0.5, strides=[32]
                ),
                test_cfg=CFG,
            )
        )
    return made.eval()


# 640 px of an image of 200 x 160 px, with 64 px above and below
VIEW = DetDataSample(
    metainfo=dict(
        ori_shape=(160, 200),
        img_shape=(640, 640),
        scale_factor=(3.2, 3.2),
        pad_param=np.array([64, 64, 0, 0]),
    )
)
# 3 strides wide at the places (15, 10) and (2, 1)
PLACES = [(10, 15), (1, 2)]
EXPECTED = [[448.0, 288, 544, 384], [32, 0, 128, 96]]


def outputs():
    scores = torch.full((1, 2, 20, 20), -10.0)
    for label, (y, x) in enumerate(PLACES):
        scores[0, label, y, x] = 4 - label
    return [scores], [torch.full((1, 4, 20, 20), 1.5)]


def test_boxes_beyond_the_size_of_the_original(head):
    """mmyolo#908: its clipping to 200 x 160 px, and ours to the view."""
    (clipped,) = head.predict_by_feat(
        *outputs(), batch_img_metas=[VIEW.metainfo], rescale=False
    )
    assert clipped.bboxes.tolist() == [[200, 160, 200, 160], EXPECTED[1]]
    (found,) = predict_views(head, outputs(), [VIEW], CFG)
    assert found.bboxes.tolist() == EXPECTED
    assert found.labels.tolist() == [0, 1]
    assert found.scores.tolist() == pytest.approx(
        torch.tensor([4.0, 3]).sigmoid().tolist()
    )
    # what the view says of itself is left alone
    assert VIEW.ori_shape == (160, 200)
    assert VIEW.scale_factor == (3.2, 3.2)


def test_predictions_are_clipped_to_the_view(head):
    scores, distances = outputs()
    (found,) = predict_views(head, (scores, [distances[0] * 8]), [VIEW], CFG)
    assert found.bboxes.tolist() == [[112, 0, 640, 640], [0, 0, 464, 432]]


def test_originals__scaled_back_without_the_padding(head):
    """The view is 3.2 times the original, 64 px below its upper edge."""
    view = VIEW.new()
    matrix = np.array([[3.2, 0, 0], [0, 3.2, 64], [0, 0, 1]])
    view.set_metainfo(dict(homography_matrix=matrix))
    (found,) = predict_originals(head, outputs(), [view], CFG)
    # the second one has 32 of its 96 px in the image
    expected = [[140.0, 70, 170, 100], [10, 0, 40, 10]]
    torch.testing.assert_close(found.bboxes, torch.tensor(expected))
    assert found.rows.tolist() == [0, 1]


def test_float32_under_autocast(head):
    with torch.no_grad(), torch.autocast('cpu', dtype=torch.bfloat16):
        outs = head([torch.randn(1, 16, 20, 20)])
        assert outs[0][0].dtype == torch.bfloat16
        cfg = ConfigDict({**CFG, 'score_thr': 0.0})
        (found,) = predict_views(head, outs, [VIEW], cfg)
    assert len(found) > 0
    assert found.bboxes.dtype == found.scores.dtype == torch.float32
    assert found.labels.dtype == torch.int64
