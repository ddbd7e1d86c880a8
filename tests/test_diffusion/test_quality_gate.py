"""QualityGate: every reason to refuse a defect, with thresholds by hand."""

import cv2
import numpy as np
import pytest
import torch
from tiny_clip import SIZE, tiny_clip
from tiny_detector import CLASSES, write_detector
from tiny_diffusion import HEIGHT, WIDTH, write_steel

from dsym.clip import load_scorer, save_clip
from dsym.diffusion.examples import read_image
from dsym.diffusion.judges import DetectorJudge, best_match, rivals
from dsym.diffusion.quality_gate import (
    Candidate,
    QualityGate,
    build_gate,
    change,
)
from dsym.errors import InputError, MissingFileError

# what is painted: 2 grey values, a copy of a labelled defect, texture
BOXES = np.array([[2.0, 2, 14, 12], [40, 30, 56, 46], [5, 40, 35, 60]])
LABELS = np.array([1, 0, 1])


@pytest.fixture(scope='module')
def labelled(tmp_path_factory):
    found = write_steel(tmp_path_factory.mktemp('steel'))
    found.metainfo['classes'] = [*CLASSES]
    return found


@pytest.fixture(scope='module')
def candidate(labelled, tmp_path_factory):
    background = np.full((HEIGHT, WIDTH, 1), 120, np.uint8)
    image = background.copy()
    image[2:12, 2:14] += 2
    image[30:46, 40:56] = read_image(labelled.infos[0]['img_path'], 1)[
        10:26, 8:24
    ]
    rng = np.random.default_rng(5)
    image[40:60, 5:35] = rng.integers(0, 100, (20, 30, 1))
    path = str(tmp_path_factory.mktemp('made') / '0.png')
    assert cv2.imwrite(path, image)
    return Candidate(path, image, background, BOXES, LABELS)


def reasons(gate, candidate):
    (verdicts,) = gate([candidate])
    return [x.reason for x in verdicts]


@pytest.mark.parametrize(
    'options, expected',
    [
        (dict(), ['blank', 'copy', '']),
        (dict(min_change=1.9, max_correlation=1.1), ['', '', '']),
        (dict(max_correlation=-1), ['blank', 'copy', 'copy']),
        (dict(min_change=256), ['blank'] * 3),
    ],
)
def test_blank_and_copy(labelled, candidate, options, expected):
    gate = QualityGate(CLASSES, labelled, **options)
    assert reasons(gate, candidate) == expected


def test_verdict__what_it_is_made_of(labelled, candidate):
    (verdicts,) = QualityGate(CLASSES, labelled)([candidate])
    assert verdicts[0].change == 2
    texture = candidate.image[40:60, 5:35].astype(float)
    assert verdicts[2].change == pytest.approx(np.abs(texture - 120).mean())
    assert verdicts[1].correlation == pytest.approx(1, abs=1e-5)
    assert {(x.iou, x.score, x.clip) for x in verdicts} == {(-1, -1, -1)}


def test_several_images__each_its_own(labelled, candidate):
    gate = QualityGate(CLASSES, labelled)
    empty = candidate._replace(boxes=BOXES[:0], labels=LABELS[:0])
    last = candidate._replace(boxes=BOXES[2:], labels=LABELS[2:])
    both, none, one = gate([candidate, empty, last])
    assert (len(both), none) == (3, [])
    assert one == both[2:]
    assert gate([]) == []


def test_change__of_the_box_alone():
    background = np.zeros((10, 10, 1), np.uint8)
    image = background.copy()
    image[2:4, 2:6] = 200
    assert change(image, background, (2, 2, 6, 4)) == 200
    assert change(image, background, (2, 2, 6, 6)) == 100
    # darker counts as brighter, and uint8 does not wrap
    assert change(background, image, (2, 2, 6, 6)) == 100
    # less than a pixel is one
    assert change(image, background, (2.6, 2.6, 3.1, 3.1)) == 200


@pytest.fixture(scope='module')
def detector(tmp_path_factory):
    folder = tmp_path_factory.mktemp('detector')
    return write_detector(folder, max_per_img=300)._asdict()


def test_detector__its_iou_and_score_decide(labelled, candidate, detector):
    (found,) = DetectorJudge(**detector, classes=CLASSES)([candidate.path])
    expected = best_match(found, BOXES, LABELS)
    assert expected.any()
    options = dict(detector=detector, min_change=0, max_correlation=1.1)
    gate = QualityGate(CLASSES, labelled, min_iou=0, min_score=0, **options)
    (verdicts,) = gate([candidate])
    other = rivals(found, BOXES, LABELS) > expected[:, 1]
    allowed = ['class' if x else '' for x in other]
    assert [x.reason for x in verdicts] == allowed
    for verdict, (iou, score) in zip(verdicts, expected):
        assert verdict.iou == pytest.approx(iou, abs=1e-5)
        assert verdict.score == pytest.approx(score, abs=1e-5)
    gate.min_iou = 1.1
    assert reasons(gate, candidate) == ['detector'] * 3
    gate.min_iou, gate.min_score = 0, 1.1
    assert reasons(gate, candidate) == ['detector'] * 3
    # a whole image, for one defect that is still there
    gate.min_iou = gate.min_score = 0
    again = candidate._replace(
        erased=found.bboxes[:1] + 0.1,
        boxes=np.array([[0.0, 0, 2, 2]]),
        labels=LABELS[:1],
    )
    gate.min_remains = float(found.scores[0])
    (alone,) = reasons(gate, again._replace(erased=BOXES[:0]))
    assert alone in ('', 'class')
    assert reasons(gate, again) == [alone or 'remains']
    gate.min_remains = float(found.scores[0]) + 1e-3
    assert reasons(gate, again) == [alone]
    # of decoys only that one
    both = np.concatenate([again.erased, [[70.0, 1, 72, 3]]])
    again = again._replace(erased=BOXES[:0], decoys=both)
    gate.min_remains = float(found.scores[0])
    assert reasons(gate, again) == [alone, 'remains', '']
    gate.min_score = 1.1
    # what is blank is not a detector's fault
    gate.min_change = 3.0
    assert reasons(gate, candidate) == ['blank', 'detector', 'detector']


@pytest.fixture(scope='module')
def clip(tmp_path_factory):
    folder = tmp_path_factory.mktemp('clip')
    loaded = tiny_clip()
    loaded.settings = dict(
        regions=dict(way='crops', image_size=SIZE, expand=(1.0,))
    )
    save_clip(loaded, folder)
    return str(folder)


@pytest.mark.parametrize('as_dict', [False, True])
def test_clip__score_of_the_own_class_decides(
    labelled, candidate, clip, as_dict
):
    (grades,) = load_scorer(clip, CLASSES).region_scores(
        [candidate.path], [torch.from_numpy(BOXES)], [(HEIGHT, WIDTH)]
    )
    # the last is labelled as CLIP would, the others are not
    labels = np.array([*LABELS[:2], int(grades[2].argmax())])
    candidate = candidate._replace(labels=labels)
    own = [float(grades[i, label]) for i, label in enumerate(labels)]
    assert len({*own}) == 3
    sure = [float(x) == float(row.max()) for x, row in zip(own, grades)]
    gate = QualityGate(
        CLASSES,
        labelled,
        clip=dict(clip=clip) if as_dict else clip,
        min_change=0,
        max_correlation=1.1,
        min_clip=sorted(own)[1] + 1e-4,
    )
    (verdicts,) = gate([candidate])
    assert [x.clip for x in verdicts] == pytest.approx(own, abs=1e-3)
    highest = int(np.argmax(own))
    assert any(sure) and not all(sure)
    for i, x in enumerate(verdicts):
        best = '' if sure[i] else 'class'
        assert x.reason == (best if i == highest else 'clip')
    gate.min_clip = 0.0
    assert reasons(gate, candidate) == ['' if x else 'class' for x in sure]


def test_build_gate__from_its_settings(labelled, candidate):
    assert build_gate(None, CLASSES, labelled) is None
    gate = build_gate(dict(min_change=1.0), CLASSES, labelled)
    assert reasons(gate, candidate) == ['', 'copy', '']


def test_unknown_key__is_refused(labelled):
    with pytest.raises(InputError, match=r'gate: .*min_chance'):
        build_gate(dict(min_chance=3), CLASSES, labelled)


def test_missing_detector__keeps_its_own_message(labelled):
    options = dict(detector=dict(config='no.py', checkpoint='no.pth'))
    with pytest.raises(MissingFileError, match=r'config=no\.py does not'):
        build_gate(options, CLASSES, labelled)
