import numpy as np

from dsym.evaluation.confusion import confusion_matrix, pair_boxes


def box(category, x, score=None, **more):
    found = dict(image_id=1, category_id=category, bbox=[x, 0, 10, 10], **more)
    return found if score is None else dict(found, score=score)


def truth_of(*boxes):
    return dict(
        images=[dict(id=1)],
        categories=[dict(id=0, name='a'), dict(id=1, name='b')],
        annotations=list(boxes),
    )


def test_confusion_matrix__by_hand():
    truth = truth_of(box(0, 0), box(0, 100), box(1, 200), box(1, 300))
    detections = [
        box(0, 1, 0.9),  # right, IoU 9 / 11
        box(1, 100, 0.8),  # an a taken for a b
        box(1, 200, 0.2),  # below the threshold: this b is missed
        box(0, 400, 0.7),  # on no defect
        box(1, 304, 0.7),  # IoU 6 / 14 < 0.5: false, and its b is missed
    ]
    expected = [
        [1, 1, 0],  # true a: one right, one as b
        [0, 0, 2],  # true b: both missed
        [1, 1, 0],  # no defect: an a and a b were drawn
    ]
    matrix = confusion_matrix(truth, detections, 0.5)
    np.testing.assert_array_equal(matrix, expected)


def test_confusion_matrix__ignored_boxes_are_no_truth():
    truth = truth_of(box(0, 0, iscrowd=1))
    matrix = confusion_matrix(truth, [box(0, 0, 0.9)], 0.5)
    np.testing.assert_array_equal(matrix, [[0, 0, 0], [0, 0, 0], [1, 0, 0]])


def test_confusion_matrix__empty_image():
    assert confusion_matrix(truth_of(), [], 0.5).sum() == 0


def test_pair_boxes__largest_iou_first_and_each_once():
    ious = np.array([[0.6, 0.9], [0.7, 0.8]])
    assert pair_boxes(ious, 0.5) == [(0, 1), (1, 0)]
    assert pair_boxes(ious, 0.75) == [(0, 1)]
