"""Hard, soft and ignored boxes of a selection, counted by hand."""

import pytest
import torch
from mmengine.structures import InstanceData

from dsym.evaluation import PseudoLabelAudit
from dsym.models.detectors.doubtful_boxes import doubtful_boxes
from dsym.models.detectors.pseudo_records import split_by_weight
from dsym.models.task_modules import ScoreThreshold, TwoThresholds


def boxes(*rows):
    """From left edge, score and label: squares of 10 px."""
    left, scores, labels = zip(*rows) if rows else ((), (), ())
    return InstanceData(
        bboxes=torch.tensor([[x, 0, x + 10, 10] for x in left]).view(-1, 4),
        scores=torch.tensor(scores),
        labels=torch.tensor(labels, dtype=torch.long),
        rows=torch.arange(len(rows)),
    )


def test_two_thresholds__each_part_has_its_precision_and_recall():
    """Five true boxes: 0, 100, 200 and 300 of class a, 400 of class b."""
    given = boxes(
        (0.0, 0.9, 0),  # certain, true
        (50.0, 0.8, 0),  # certain, false
        (100.0, 0.6, 0),  # certain, true: high itself is enough
        (400.0, 0.5, 0),  # uncertain, false: the place of a b
        (200.0, 0.4, 0),  # uncertain, true
        (60.0, 0.3, 1),  # uncertain, false
        (300.0, 0.25, 0),  # doubtful, true
        (70.0, 0.2, 0),  # doubtful, false
        (80.0, 0.16, 1),  # doubtful, false
        (400.0, 0.1, 1),  # background, though true
    )
    selector = TwoThresholds(low=0.3, high=0.6)
    selected = selector(given)
    parts = split_by_weight([selected])
    stages = dict(
        predicted=given,
        selected=selected,
        certain=parts['certain'][0],
        uncertain=parts['uncertain'][0],
        doubtful=doubtful_boxes(given, selected, selector),
    )
    truth = boxes(
        *((float(x), 1.0, 0) for x in (0, 100, 200, 300)), (400.0, 1.0, 1)
    )
    audit = PseudoLabelAudit({'x.jpg': truth}, ('a', 'b'))
    audit.add('x.jpg', stages)
    found = {
        name: (x['boxes'], x['true_positives'], x['precision'], x['recall'])
        for name, x in audit.compute().items()
    }
    assert found == dict(
        predicted=(10, 5, 5 / 10, 5 / 5),
        selected=(6, 3, 3 / 6, 3 / 5),
        certain=(3, 2, 2 / 3, 2 / 5),
        uncertain=(3, 1, 1 / 3, 1 / 5),
        doubtful=(3, 1, 1 / 3, 1 / 5),
    )
    classes = audit.compute()['uncertain']['classes']
    assert (classes['a']['boxes'], classes['b']['boxes']) == (2, 1)
    assert classes['b']['precision'] == classes['b']['recall'] == 0


def test_no_weights__no_parts():
    given = boxes((0.0, 0.9, 0), (20.0, 0.2, 0))
    assert split_by_weight([ScoreThreshold(0.5)(given), boxes()]) == {}


def test_weights_in_one_image__all_images_have_the_parts():
    first, second = boxes((0.0, 0.9, 0), (20.0, 0.2, 0)), boxes((0.0, 0.1, 0))
    first.weights = torch.tensor([0.3, 1.0])
    parts = split_by_weight([first, second, boxes()])
    sizes = {name: [*map(len, images)] for name, images in parts.items()}
    assert sizes == dict(certain=[1, 1, 0], uncertain=[1, 0, 0])
    assert parts['certain'][0].rows.tolist() == [1]
    assert parts['uncertain'][0].weights.item() == pytest.approx(0.3)
