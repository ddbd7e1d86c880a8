"""PseudoLabelAudit: counts that were worked out by hand."""

import json
import math
import os

import pytest
import torch
from mmengine.structures import InstanceData

from dsym.errors import InputError
from dsym.evaluation import PseudoLabelAudit
from dsym.evaluation.pseudo_label_audit import last_stage, nan_to_none

LEFT, RIGHT = [0, 0, 10, 10], [50, 0, 60, 10]
NEAR_LEFT = [0, 0, 10, 8]  # IoU 0.8 with LEFT
FAR_LEFT = [6, 0, 16, 10]  # IoU 0.25


def instances(boxes=(), labels=(), scores=None):
    data = InstanceData(
        bboxes=torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        labels=torch.tensor(labels, dtype=torch.long),
    )
    if scores is not None:
        data.scores = torch.tensor(scores, dtype=torch.float32)
    return data


@pytest.fixture
def audit():
    """Two images with truth and one without, none of it of class c."""
    truth = {
        '/data/two.jpg': instances([LEFT, RIGHT], [0, 1]),
        '/data/empty.jpg': instances(),
        '/data/unseen.jpg': instances([LEFT], [0]),
    }
    return PseudoLabelAudit(truth, ('a', 'b', 'c'))


def test_counts__by_stage_and_class(audit):
    audit.add(
        '/data/two.jpg',
        dict(
            # two boxes on one truth box, a wrong class, an IoU too low
            predicted=instances(
                [NEAR_LEFT, LEFT, RIGHT, FAR_LEFT],
                [0, 0, 0, 0],
                [0.5, 0.9, 0.8, 0.3],
            ),
            selected=instances([LEFT, RIGHT], [0, 1], [0.9, 0.8]),
        ),
    )
    audit.add(
        '/data/empty.jpg',
        dict(
            predicted=instances([LEFT], [1], [0.4]),
            selected=instances(scores=[]),
        ),
    )
    report = audit.compute()
    assert list(report) == ['predicted', 'selected']

    predicted = report['predicted']
    assert predicted['images'] == 2
    assert predicted['boxes'] == 5
    assert predicted['true_positives'] == 1
    assert predicted['truth'] == 2
    assert predicted['precision'] == 1 / 5
    assert predicted['recall'] == 1 / 2
    assert predicted['boxes_per_image'] == 2.5
    assert predicted['classes']['a'] == dict(
        boxes=4, true_positives=1, truth=1, precision=0.25, recall=1.0
    )
    assert predicted['classes']['b'] == dict(
        boxes=1, true_positives=0, truth=1, precision=0.0, recall=0.0
    )

    selected = report['selected']
    assert selected['precision'] == selected['recall'] == 1.0
    assert selected['boxes_per_image'] == 1.0


def test_best_score_gets_the_box__whatever_the_order(audit):
    # in this order the first box would win, and the second is no match at 0.5
    stage = instances([NEAR_LEFT, LEFT], [0, 0], [0.2, 0.7])
    audit.add('/data/two.jpg', dict(selected=stage))
    a = audit.compute()['selected']['classes']['a']
    assert (a['boxes'], a['true_positives']) == (2, 1)


def test_no_boxes_or_no_truth__nan_and_null(audit):
    audit.add('/data/two.jpg', dict(selected=instances(scores=[])))
    report = audit.compute()
    assert math.isnan(report['selected']['precision'])
    assert report['selected']['recall'] == 0
    assert math.isnan(report['selected']['classes']['c']['recall'])
    text = json.dumps(nan_to_none(report), allow_nan=False)
    assert json.loads(text)['selected']['precision'] is None


def test_nothing_seen__no_stages(audit):
    assert audit.compute() == {}


def test_last_stage__holds_all_labels():
    assert last_stage(['predicted', 'selected']) == 'selected'
    stages = ['predicted', 'selected', 'certain', 'uncertain', 'doubtful']
    assert last_stage(stages) == 'selected'
    assert last_stage([*stages, 'filtered']) == 'filtered'


def test_merge__equals_one_audit(audit):
    stages = dict(selected=instances([LEFT], [0], [0.9]))
    audit.add('/data/two.jpg', stages)
    counts = audit.counts
    audit.reset()
    audit.add('/data/empty.jpg', stages)
    audit.merge(counts)
    selected = audit.compute()['selected']
    assert (selected['images'], selected['boxes']) == (2, 2)
    assert (selected['true_positives'], selected['truth']) == (1, 2)


def test_relative_path__is_found(audit):
    path = os.path.relpath('/data') + '/./two.jpg'
    audit.add(path, dict(selected=instances([LEFT], [0], [0.9])))
    assert audit.compute()['selected']['true_positives'] == 1


def test_unknown_path__is_named(audit):
    with pytest.raises(InputError, match=r'^/data/three\.jpg .*dataset'):
        audit.add('/data/three.jpg', {})


def test_label_that_is_no_class__is_named(audit):
    stage = instances([LEFT], [3], [0.9])
    with pytest.raises(InputError, match=r'two\.jpg: label 3 in selected'):
        audit.add('/data/two.jpg', dict(selected=stage))
    with pytest.raises(InputError, match=r'x\.jpg: label 1 in truth'):
        PseudoLabelAudit({'x.jpg': instances([LEFT], [1])}, ('a',))
