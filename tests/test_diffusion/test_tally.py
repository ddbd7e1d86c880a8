"""Tally: what a gate kept, by reason and by class; the log of a set."""

import logging
import re

import cv2
import numpy as np
import pytest
from mmengine.logging import MMLogger
from tiny_diffusion import HEIGHT, WIDTH, write_steel

from dsym.diffusion.synthetic_set import ensure_synthetic
from dsym.diffusion.tally import Tally, note_seconds, read_seconds
from dsym.diffusion.workshop import Recipe


def record(labels, reasons):
    """An image whose defects were kept or refused for a reason."""
    return dict(
        labels=labels,
        kept=[i for i, x in enumerate(reasons) if not x],
        verdicts=[dict(reason=x) for x in reasons],
    )


def test_counts__by_reason_and_class():
    tally = Tally(['a', 'b', 'c'])
    tally.add([record([0, 0], ['', 'copy']), record([1], ['copy'])])
    tally.add([record([0], [''])])
    assert tally.images == 3
    assert tally.by_reason() == '2 kept, 2 copy'
    assert tally.by_class() == 'a 2 of 3, b 0 of 1, c 0 of 0'
    assert tally.lost() == ['b']  # c was never painted


def test_counts__without_a_gate():
    tally = Tally(['a'])
    tally.add([dict(labels=[0, 0], kept=[0, 1], verdicts=[])])
    assert (tally.by_reason(), tally.by_class()) == ('', 'a 2 of 2')
    assert tally.lost() == []


def test_seconds__of_each_call(tmp_path):
    assert read_seconds(tmp_path) == []
    note_seconds(tmp_path, 32, 1.23)
    note_seconds(tmp_path, 64, 2.0)
    assert read_seconds(tmp_path) == [
        dict(images=32, seconds=1.2),
        dict(images=64, seconds=2.0),
    ]


class Handler(logging.Handler):
    """Keeps what is logged."""

    def __init__(self):
        super().__init__()
        self.records = []

    def emit(self, record):
        self.records.append(record)


@pytest.fixture
def said():
    logger, handler = MMLogger.get_current_instance(), Handler()
    logger.addHandler(handler)
    yield handler.records
    logger.removeHandler(handler)


def test_log__warns_of_a_class_that_is_never_kept(tmp_path, said):
    """All of the steel with lines is of one grey: pasting changes nothing."""
    box = (8, 10, 24, 26)
    labelled = write_steel(tmp_path / 'steel', [[(0, box)], [(1, box)]])
    path = labelled.infos[1]['img_path']
    assert cv2.imwrite(path, np.full((HEIGHT, WIDTH, 3), 100, np.uint8))
    recipe = Recipe(
        painter=dict(type='CopyPastePainter', min_side=24),
        layout={},
        gate=dict(max_correlation=1.1),
        seed=0,
    )
    ensure_synthetic(recipe, labelled, 4, tmp_path, num_workers=0)
    lines = [x.getMessage() for x in said]
    counts = re.search(
        r'kept by class: dark-spot (\d+) of (\d+), bright-line 0 of (\d+)',
        ' '.join(lines),
    )
    dark, of_dark, of_bright = map(int, counts.groups())
    assert dark == of_dark > 0 < of_bright
    assert dark + of_bright == 32  # one an image of a chunk
    warned = [x for x in said if x.levelno == logging.WARNING]
    assert [x.getMessage()[:29] for x in warned] == [
        'the gate kept no bright-line:'
    ]
