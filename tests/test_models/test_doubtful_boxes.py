"""Which of the teacher's other boxes may be defects."""

import torch
from mmengine.structures import InstanceData

from dsym.models.detectors.doubtful_boxes import doubtful_boxes
from dsym.models.task_modules import ClassThresholds, ScoreThreshold


def boxes(*rows):
    """From left edge, score and label: squares of 10 px."""
    left, scores, labels = zip(*rows)
    corners = [[x, 0.0, x + 10.0, 10.0] for x in left]
    return InstanceData(
        bboxes=torch.tensor(corners),
        scores=torch.tensor(scores),
        labels=torch.tensor(labels),
        rows=torch.arange(len(rows)),
    )


def test_doubtful__nearly_a_label_and_no_copy_of_one():
    given = boxes(
        (0.0, 0.9, 0),  # the label
        (4.0, 0.4, 0),  # IoU 6 / 14 with it: a bad copy
        (6.0, 0.4, 0),  # IoU 4 / 16
        (50.0, 0.3, 1),
        (70.0, 0.2, 1),  # less than half of 0.5
    )
    found = doubtful_boxes(given, given[:1], ScoreThreshold(0.5))
    assert found.rows.tolist() == [2, 3]
    found = doubtful_boxes(given, given[:1], ScoreThreshold(0.5), share=0.7)
    assert found.rows.tolist() == [2]


def test_doubtful__without_a_label_by_the_score_alone():
    given = boxes((0.0, 0.4, 0), (4.0, 0.3, 0), (8.0, 0.1, 0))
    found = doubtful_boxes(given, given[:0], ScoreThreshold(0.5))
    assert found.rows.tolist() == [0, 1]


def test_floor__of_each_class():
    selector = ClassThresholds([1.0, 1.0], window=8)
    for _ in range(8):
        selector(boxes((0.0, 0.8, 0), (30.0, 0.6, 0), (60.0, 0.25, 1)))
    # one box a class and image is expected: the best of class 0
    floors = selector.floor(torch.tensor([1, 0, 1]))
    torch.testing.assert_close(floors, torch.tensor([0.25, 0.8, 0.25]))
