"""DefectExamples: which defect is put where, how bright."""

import cv2
import numpy as np
import pytest
from tiny_diffusion import write_steel

from dsym.diffusion.examples import (
    DefectExamples,
    beside,
    read_image,
    ring_mean,
)
from dsym.diffusion.painters import CLEAN
from dsym.diffusion.synthetic_settings import LabelledSet
from dsym.errors import InputError

BOX = np.array([0.25, 0.5, 0.75, 0.875])
PIXELS = np.s_[16:28, 8:24]  # of 32 px


def flat_set(folder, *defects):
    """An image a defect: flat steel, a box of another flat grey.

    Args:
        folder (Path): Where.
        *defects (tuple): Label, grey value of steel and of the box, box.
    """
    infos = []
    for i, (label, steel, grey, (x1, y1, x2, y2)) in enumerate(defects):
        pixels = np.full((60, 100), steel, np.uint8)
        pixels[y1:y2, x1:x2] = grey
        path = str(folder / f'{i}.png')
        assert cv2.imwrite(path, pixels)
        instance = dict(bbox=[x1, y1, x2, y2], bbox_label=label, ignore_flag=0)
        infos.append(dict(img_path=path, instances=[instance]))
    return LabelledSet(dict(classes=['a', 'b']), infos)


@pytest.fixture
def examples(tmp_path):
    return DefectExamples(
        flat_set(
            tmp_path,
            (0, 100, 60, (20, 10, 50, 30)),  # 40 darker
            (1, 150, 180, (20, 10, 50, 30)),  # 30 brighter
        )
    )


@pytest.mark.parametrize('label, shift', [(0, -40), (1, 30)])
@pytest.mark.parametrize('steel', [90, 200])
def test_put_into__class_as_much_darker_as_it_was(
    examples, label, shift, steel
):
    window = np.full((32, 32, 1), steel, np.uint8)
    result = examples.put_into(window, BOX, label, seed=3)
    assert (result[PIXELS] == steel + shift).all()
    outside = np.ones((32, 32), bool)
    outside[PIXELS] = False
    assert (result[outside] == steel).all()
    assert (window == steel).all()


def test_put_into__grey_values_end_at_0(examples):
    window = np.full((32, 32, 1), 25, np.uint8)
    assert (examples.put_into(window, BOX, 0, 0)[PIXELS] == 0).all()


def test_put_into__changes_nothing_outside_of_the_box(tmp_path):
    examples = DefectExamples(write_steel(tmp_path))
    window = np.random.default_rng(1).integers(0, 256, (32, 32, 1), np.uint8)
    outside = np.ones((32, 32), bool)
    outside[PIXELS] = False
    for label in (0, 1, CLEAN):
        result = examples.put_into(window, BOX, label, seed=0)
        assert np.array_equal(result[outside], window[outside])
        assert not np.array_equal(result[PIXELS], window[PIXELS])


def test_put_into__a_seed_gives_the_same_others_differ(tmp_path):
    examples = DefectExamples(write_steel(tmp_path))
    window = np.random.default_rng(1).integers(0, 256, (32, 32, 1), np.uint8)
    for label in (0, CLEAN):
        made = [
            examples.put_into(window, BOX, label, seed).tobytes()
            for seed in (0, 0, *range(1, 12))
        ]
        assert made[0] == made[1]
        assert len({*made}) >= 3  # four flips at least of an example


def test_put_into__only_flips_of_an_example_of_its_own_size(tmp_path):
    """An example of 16 x 12 px in a box of 16 x 12 px is not resized."""
    labelled = write_steel(tmp_path, [[(0, (20, 10, 36, 22))]])
    examples = DefectExamples(labelled)
    true = examples.image(labelled.infos[0]['img_path'])[10:22, 20:36]
    window = np.full((32, 32, 1), 140, np.uint8)
    shift = 140 - examples.by_class[0][0].around
    flips = {
        (y + shift).round().clip(0, 255).astype(np.uint8).tobytes()
        for y in (true, true[::-1], true[:, ::-1], true[::-1, ::-1])
    }
    made = {
        examples.put_into(window, BOX, 0, seed)[PIXELS].tobytes()
        for seed in range(30)
    }
    assert made == flips


def test_clean__takes_the_window_beside_the_box():
    """Left of the box is 50, above 52: never the 255 of the box."""
    window = np.full((32, 32, 1), 255, np.uint8)
    window[:16], window[16:, :8], window[16:, 24:] = 52, 50, 50
    window[28:] = 50
    examples = DefectExamples.__new__(DefectExamples)
    result = examples.put_into(window, BOX, CLEAN, seed=0)
    # the strip's texture is flat: only the ring's mean remains
    assert {*result[PIXELS].ravel()} == {51}


def test_beside__is_the_widest_strip():
    window = np.arange(32 * 32).reshape(32, 32, 1)
    rng = np.random.default_rng(0)
    assert np.array_equal(beside(window, (8, 16, 24, 28), rng), window[:16])
    # where a box leaves no 2 px, all of it
    assert beside(window, (1, 1, 31, 31), rng) is window


def test_draw__one_of_the_8_of_the_nearest_size(tmp_path):
    wide = [(0, 100, 60, (5, 5, 65 + i, 15)) for i in range(8)]
    small = [(0, 100, 60, (5, 5, 9 + i // 4, 9 + i % 4)) for i in range(8)]
    examples = DefectExamples(flat_set(tmp_path, *wide, *small))
    rng = np.random.default_rng(0)
    drawn = {tuple(examples.draw(0, (60, 10), rng).box) for _ in range(200)}
    assert drawn == {box for *_, box in wide}
    drawn = {tuple(examples.draw(0, (4, 1), rng).box) for _ in range(200)}
    assert drawn == {box for *_, box in small}


def test_put_into__of_a_window_that_was_reduced(tmp_path):
    """A box of 10 px of a window at a third of its size is one of 30 px."""
    small = [(0, 50, 9, (5, 5, 15, 15 + i)) for i in range(8)]
    large = [(0, 50, 99, (5, 5, 35, 35 + i)) for i in range(8)]
    examples = DefectExamples(flat_set(tmp_path, *small, *large))
    window = np.full((32, 32, 1), 50, np.uint8)
    box = np.array([8, 8, 18, 18]) / 32
    for scale, grey in ((1.0, 9), (3.0, 99)):
        result = examples.put_into(window, box, 0, 1, scale)
        assert (result[9:17, 9:17] == grey).all()


def test_ring_mean__by_hand():
    image = np.zeros((40, 60, 1), np.uint8)
    image[10:30, 20:40] = 200  # the box
    image[7:33, 17:43] += 30  # 3 px of ring: 15% of 20 px
    assert ring_mean(image, (20, 10, 40, 30)) == 30
    # a box of the whole image has no ring
    assert ring_mean(image, (0, 0, 60, 40)) == pytest.approx(image.mean())


def test_read_image__grey_or_rgb(tmp_path):
    path = str(tmp_path / 'image.png')
    assert cv2.imwrite(path, np.full((4, 6, 3), (10, 20, 250), np.uint8))
    assert read_image(path, 3)[0, 0].tolist() == [250, 20, 10]
    assert read_image(path, 1).shape == (4, 6, 1)


def test_no_defect__is_refused(tmp_path):
    labelled = write_steel(tmp_path, [[], []])
    with pytest.raises(InputError, match='no image has a box'):
        DefectExamples(labelled)
    labelled = write_steel(tmp_path, [[(0, (5, 5, 20, 20))]])
    labelled.infos[0]['instances'][0]['ignore_flag'] = 1
    with pytest.raises(InputError, match='no image has a box'):
        DefectExamples(labelled)
