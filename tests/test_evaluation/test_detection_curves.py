import numpy as np
import pytest
import torch

from dsym.evaluation.detection_curves import (
    IOU_THRS,
    box_iou,
    compute_detection_curves,
    evaluate_yolo,
    match_detections,
    smooth,
)


def test_evaluate_yolo__equals_official(images, official):
    precision, recall, f1, ap, labels = official
    curves = evaluate_yolo(images)
    assert curves.labels.tolist() == labels.tolist() == [0, 1, 2]
    best = curves.best
    np.testing.assert_allclose(curves.precision[:, best], precision, atol=1e-9)
    np.testing.assert_allclose(curves.recall[:, best], recall, atol=1e-9)
    np.testing.assert_allclose(curves.f1[:, best], f1, atol=1e-9)
    np.testing.assert_allclose(curves.ap, ap, atol=1e-9)
    assert 0.2 < ap[:2, 0].mean() < 0.95  # the comparison is not an empty one
    assert ap[2].tolist() == [0] * 10  # class 2 has truth, no detection


def test_iou_thrs__equal_official():
    assert (torch.linspace(0.5, 0.95, 10).numpy() == IOU_THRS).all()


def test_box_iou__continuous_boxes():
    first = np.array([[0, 0, 10, 10]])
    second = np.array([[5, 0, 15, 10], [20, 20, 30, 30], [0, 0, 10, 10]])
    np.testing.assert_allclose(
        box_iou(first, second), [[50 / 150, 0, 1]], atol=1e-6
    )


def test_match_detections__first_of_two_wins():
    gt_bboxes = np.array([[0.0, 0, 10, 10]])
    # IoU 0.9 and 1: the first is false only where its own IoU is too small
    det_bboxes = np.array([[0.0, 0, 9, 10], [0, 0, 10, 10]])
    found = match_detections(
        det_bboxes, np.zeros(2, int), gt_bboxes, np.zeros(1, int)
    )
    assert found[:, 0].tolist() == [True, False]
    assert found[:, 9].tolist() == [False, True]


def test_match_detections__another_class_is_no_match():
    bboxes = np.array([[0.0, 0, 10, 10]])
    found = match_detections(bboxes, np.array([1]), bboxes, np.array([0]))
    assert not found.any()


def test_curves__two_hits_around_a_miss():
    # equations 21 to 23: after 1, 2, 3 detections P = 1, 1/2, 2/3 and
    # R = 1/2, 1/2, 1; the area under the envelope is 1/2 + 1/2 * 2/3
    hits = np.array([[True], [False], [True]]).repeat(10, axis=1)
    curves = compute_detection_curves(
        hits,
        np.array([0.9, 0.8, 0.7], np.float32),
        np.zeros(3, int),
        np.zeros(2, int),
    )
    # the official interpolation falls to 0 within the last of 100 steps
    assert curves.ap[0, 0] == pytest.approx(1 / 2 + 1 / 3, abs=0.006)
    best = curves.best
    assert curves.precision[0, best] == pytest.approx(2 / 3)
    assert curves.recall[0, best] == pytest.approx(1)
    assert curves.f1[0, best] == pytest.approx(0.8)
    assert curves.best_thr < 0.7


@pytest.mark.parametrize('num_gts', [0, 3])
def test_curves__no_detection(num_gts):
    curves = compute_detection_curves(
        np.zeros((0, 10), bool),
        np.zeros(0, np.float32),
        np.zeros(0, int),
        np.zeros(num_gts, int),
    )
    assert curves.ap.shape == (min(num_gts, 1), 10)
    assert curves.ap.sum() == curves.precision.sum() == 0
    assert curves.best_thr == 0


def test_smooth__equals_official():
    metrics = pytest.importorskip('yolo9.utils.metrics')
    values = np.random.default_rng(0).random(1000)
    np.testing.assert_allclose(
        smooth(values, 0.1), metrics.smooth(values, 0.1), atol=1e-12
    )
