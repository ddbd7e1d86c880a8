"""Synthesizer: images that depend on nothing but their number."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_diffusion import DEFECTS, HEIGHT, WIDTH, write_steel

from dsym.diffusion import CopyPastePainter, DefectLayout
from dsym.diffusion.examples import DefectExamples, read_image
from dsym.diffusion.painters import CLEAN
from dsym.diffusion.synthesizer import Synthesizer
from dsym.diffusion.windows import paste


@pytest.fixture(scope='module')
def labelled(tmp_path_factory):
    return write_steel(tmp_path_factory.mktemp('steel'))


def build(labelled, seed=0, **layout):
    painter = CopyPastePainter(
        labelled.metainfo['classes'],
        DefectExamples(labelled),
        min_side=24,
    )
    return Synthesizer(DefectLayout(labelled, **layout), painter, seed)


def covered(boxes):
    """Pixels that boxes touch."""
    mask = np.zeros((HEIGHT, WIDTH), bool)
    for box in boxes:
        x1, y1 = np.floor(np.maximum(box[:2], 0)).astype(int)
        x2, y2 = np.ceil(box[2:]).astype(int)
        mask[y1:y2, x1:x2] = True
    return mask


def test_image__same_whatever_others_are_made_with_it(labelled):
    synthesize = build(labelled)
    together = synthesize(range(6))
    assert [x.number for x in together] == [*range(6)]
    for number in (4, 1):
        (alone,) = synthesize([number])
        other = together[number]
        assert alone.plan.path == other.plan.path
        assert np.array_equal(alone.plan.boxes, other.plan.boxes)
        every = range(len(alone.plan.boxes))
        assert np.array_equal(alone.background, other.background)
        assert np.array_equal(alone.image(every), other.image(every))


def test_replace__the_true_defect_shines_through_at_the_edge(labelled):
    """A pasting of the painted window with the wide edge, no other."""
    synthesize = build(labelled, background='replace', share=1.0)
    for x in synthesize(range(6)):
        assert np.array_equal(x.background, read_image(x.plan.path, 1))
        for i, box in enumerate(x.plan.boxes):
            wide = paste(x.background, x.windows[i], [box], replaces=True)
            narrow = paste(x.background, x.windows[i], [box])
            assert np.array_equal(x.image([i]), wide)
            assert not np.array_equal(wide, narrow)


def test_decoys__are_painted_and_may_be_left_out(labelled):
    """With the wide edge of what is painted into it, and nowhere else."""
    synthesize = build(labelled, background='replace', decoys=1)
    changed = 0
    for x in synthesize(range(8)):
        true = read_image(x.plan.path, 1)
        assert np.array_equal(x.background, true)
        assert len(x.decoys) == len(x.plan.decoys)
        shown = x.image([], range(len(x.decoys)))
        outside = ~covered(x.plan.decoys)
        assert np.array_equal(shown[outside], true[outside])
        for box, window in zip(x.plan.decoys, x.decoys):
            assert np.array_equal(
                shown, paste(true, window, [box], replaces=True)
            )
            changed += not np.array_equal(shown, true)
    assert changed >= 3


def test_jobs__say_where_true_defects_are(labelled):
    """Those that are erased, kept or replaced, in parts of the window."""
    for background in ('clean', 'keep', 'replace'):
        painter = Ask()
        layout = DefectLayout(labelled, background, decoys=1)
        made = Synthesizer(layout, painter, 0)(range(4))
        truth = {
            tuple(map(tuple, sorted(x.plan.truth.tolist()))) for x in made
        }
        assert truth == {
            tuple(sorted(tuple(map(float, box)) for _, box in DEFECTS[n]))
            for n in {int(Path(x.plan.path).stem) for x in made}
        }
        jobs = [job for turn in painter.turns for job in turn]
        assert all(len(job.truth) for job in jobs)
        if background == 'replace':  # what is painted is one of them
            for job in jobs:
                same = np.abs(job.truth - job.box).max(1).min() < 1e-6
                assert same == (job.label != CLEAN)


def test_seed__other_images(labelled):
    first, second = (build(labelled, seed)([0])[0] for seed in (0, 1))
    assert not np.array_equal(first.image([0]), second.image([0]))


def test_image__of_some_boxes_is_the_background_elsewhere(labelled):
    several = [x for x in build(labelled)(range(30)) if len(x.plan.boxes) > 1]
    assert several
    for x in several:
        assert np.array_equal(x.image([]), x.background)
        for chosen in ([0], [1], [0, 1]):
            inside = covered(x.plan.boxes[chosen])
            image = x.image(chosen)
            assert np.array_equal(image[~inside], x.background[~inside])
            for i in chosen:
                box = covered(x.plan.boxes[[i]])
                assert not np.array_equal(image[box], x.background[box])


def read(plan):
    return cv2.imread(plan.path, cv2.IMREAD_GRAYSCALE)[..., None]


def test_clean__only_true_defects_are_painted_out(labelled):
    """Spots are 60 grey values darker, lines as much brighter."""
    for x in build(labelled)(range(12)):
        real, inside = read(x.plan), covered(x.plan.erased)
        assert np.array_equal(x.background[~inside], real[~inside])
        # steel's mean is 100 and 15 more for each image
        steel = 100 + 15 * int(Path(x.plan.path).stem)
        for _, (x1, y1, x2, y2) in DEFECTS[int(Path(x.plan.path).stem)]:
            part = np.s_[y1 + 1 : y2 - 1, x1 + 1 : x2 - 1]
            before = abs(real[part].mean() - steel)
            after = abs(x.background[part].mean() - steel)
            assert after < 15 < 40 < before


def test_keep__background_is_the_real_image(labelled):
    for x in build(labelled, background='keep')(range(6)):
        assert np.array_equal(x.background, read(x.plan))
        truth = covered(x.plan.kept) & ~covered(x.plan.boxes)
        image = x.image(range(len(x.plan.boxes)))
        assert np.array_equal(image[truth], x.background[truth])


class Ask:
    """Paints white or, to erase, black; notes what it was asked."""

    size, channels, context, min_side = 24, 1, (1.2, 2.5), 24

    def __init__(self):
        self.turns = []

    def paint(self, jobs):
        self.turns.append(jobs)
        return [
            np.full((24, 24, 1), 0 if x.label == CLEAN else 255, np.uint8)
            for x in jobs
        ]


def test_turns__erase_first_and_see_what_was_painted(labelled):
    painter = Ask()
    made = Synthesizer(DefectLayout(labelled), painter, 0)(range(12))
    erased = [len(x.plan.erased) for x in made]
    boxes = [len(x.plan.boxes) for x in made]
    # the n-th box of all images that have one, in one call
    expected = [
        sum(n > turn for n in counts)
        for counts in (erased, boxes)
        for turn in range(max(counts))
    ]
    assert [len(x) for x in painter.turns] == expected
    erasing, painting = (
        [job for turn in part for job in turn]
        for part in (
            painter.turns[: max(erased)],
            painter.turns[max(erased) :],
        )
    )
    assert {x.label for x in erasing} == {CLEAN}
    assert len({x.seed for x in erasing + painting}) == sum(erased + boxes)
    # in the background black has come of what was erased
    for x in made:
        inner = x.plan.erased + np.array([5, 5, -5, -5])
        assert (x.background[covered(inner)] == 0).all()
