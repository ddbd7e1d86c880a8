"""DefectExamples: which defect is put where, how bright."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from tiny_diffusion import write_steel

from dsym.diffusion.examples import (
    DefectExamples,
    largest_square,
    read_image,
    steel_around,
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


def test_put_into__an_example_that_is_a_sliver_at_the_border(tmp_path):
    """Boxes of 0.3 px, as clipping leaves of a box beside the image."""
    for i, sliver in enumerate(
        [(99.7, 10, 100, 30), (20, 59.7, 40, 60), (99.7, 59.7, 100, 60)]
    ):
        folder = tmp_path / str(i)
        folder.mkdir()
        labelled = flat_set(folder, (0, 100, 60, (20, 10, 50, 30)))
        labelled.infos[0]['instances'][0]['bbox'] = [*sliver]
        window = np.full((32, 32, 1), 90, np.uint8)
        result = DefectExamples(labelled).put_into(window, BOX, 0, seed=0)
        assert result.shape == window.shape


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


def test_put_into__reads_no_image_of_another_class(tmp_path):
    """Image 0 shows class 0 alone, image 1 class 1."""
    boxes = [[(label, (20, 10, 36, 22))] for label in (0, 1)]
    labelled = write_steel(tmp_path, boxes)
    examples = DefectExamples(labelled)
    Path(labelled.infos[1]['img_path']).unlink()
    window = np.full((32, 32, 1), 140, np.uint8)
    examples.put_into(window, BOX, CLEAN, 0)
    assert not np.array_equal(examples.put_into(window, BOX, 0, 0), window)
    with pytest.raises(FileNotFoundError, match=r'1\.png'):
        examples.put_into(window, BOX, 1, 0)


def test_put_into__only_flips_of_an_example_of_its_own_size(tmp_path):
    """An example of 16 x 12 px in a box of 16 x 12 px is not resized."""
    labelled = write_steel(tmp_path, [[(0, (20, 10, 36, 22))]])
    examples = DefectExamples(labelled)
    true = examples.image(labelled.infos[0]['img_path'], 1)[10:22, 20:36]
    window = np.full((32, 32, 1), 140, np.uint8)
    around = examples.of_class(0)[0].around
    # flat steel has no grain: contrast is reduced as far as it may be
    alone = (true - around.below(12, 16)) / 1.5
    flips = {
        (140 + y).round().clip(0, 255).astype(np.uint8).tobytes()
        for y in (alone, alone[::-1], alone[:, ::-1], alone[::-1, ::-1])
    }
    made = {
        examples.put_into(window, BOX, 0, seed)[PIXELS].tobytes()
        for seed in range(30)
    }
    assert made == flips


def test_clean__takes_what_shows_no_defect():
    """The largest free square is above; the defect beside it is never taken.

    The free part of the window is 50 below the box and 52 above it.
    """
    window = np.full((32, 32, 1), 255, np.uint8)
    window[:16], window[16:, :8], window[16:, 24:] = 52, 50, 50
    window[28:] = 50
    window[:16, 16:] = 200  # a defect
    examples = DefectExamples.__new__(DefectExamples)
    options = dict(label=CLEAN, seed=0, truth=np.array([[0.5, 0, 1, 0.5]]))
    result = examples.put_into(window, BOX, **options)
    part = window[largest_square(window[..., 0] < 100)]
    assert {*part.ravel()} == {52} and part.shape == (15, 15, 1)
    # flat as the square, with the plane of the ring: no grain of the defect
    assert np.abs(np.diff(result[PIXELS][..., 0].astype(int))).max() <= 8
    # a window that is full of defects stays as it is
    options['truth'] = np.array([[0, 0, 1, 1.0]])
    same = examples.put_into(window, BOX, **options)
    assert np.array_equal(same, window) and same is not window


@pytest.mark.parametrize(
    'taken, expected',
    [
        ([], (0, 9, 0, 9)),
        ([np.s_[:, 4]], (0, 5, 5, 10)),
        ([np.s_[3:, :], np.s_[:, 3:8]], (0, 3, 0, 3)),
        ([np.s_[:, 2::3]], (0, 0, 0, 0)),  # strips of 2 px
        ([np.s_[:, :]], (0, 0, 0, 0)),
    ],
)
def test_largest_square__by_hand(taken, expected):
    free = np.ones((9, 10), bool)
    for part in taken:
        free[part] = False
    rows, columns = largest_square(free)
    found = np.zeros_like(free)
    found[rows, columns] = True
    y1, y2, x1, x2 = expected
    assert found.sum() == (y2 - y1) * (x2 - x1)
    assert not found[~free].any()


def test_put_into__colour_as_much_darker_as_it_was(tmp_path):
    """Put back onto its own steel it is itself, whatever its tint."""
    image = np.full((60, 60, 3), (150, 100, 50), np.uint8)
    image[20:40, 20:40] -= 10
    path = str(tmp_path / 'colour.png')
    assert cv2.imwrite(path, image[..., ::-1])
    box = [20, 20, 40, 40]
    info = dict(img_path=path, instances=[dict(bbox=box, bbox_label=0)])
    examples = DefectExamples(LabelledSet(dict(classes=['a']), [info]))
    result = examples.put_into(image, np.array(box) / 60, 0, seed=0)
    assert np.array_equal(result, image)


def test_draw__one_of_the_8_of_the_nearest_size(tmp_path):
    wide = [(0, 100, 60, (5, 5, 65 + i, 15)) for i in range(8)]
    small = [(0, 100, 60, (5, 5, 9 + i // 4, 9 + i % 4)) for i in range(8)]
    examples = DefectExamples(flat_set(tmp_path, *wide, *small))
    rng = np.random.default_rng(0)
    here = examples.of_class(0)[0].around
    drawn = {
        tuple(examples.draw(0, (60, 10), here, rng).box) for _ in range(200)
    }
    assert drawn == {box for *_, box in wide}
    drawn = {
        tuple(examples.draw(0, (4, 1), here, rng).box) for _ in range(200)
    }
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


def test_steel_around__by_hand():
    image = np.zeros((40, 60, 1), np.uint8)
    image[10:30, 20:40] = 200  # the box
    image[7:33, 17:43] += 30  # 3 px of ring: 15% of 20 px
    steel = steel_around(image, (20, 10, 40, 30))
    assert steel.mean == pytest.approx(30)
    assert steel.slopes == pytest.approx(np.zeros(2), abs=1e-9)
    assert steel.grain == pytest.approx(0, abs=1e-9)
    # a box of the whole image has no ring
    steel = steel_around(image, (0, 0, 60, 40))
    assert steel.mean == pytest.approx(image.mean())
    assert steel.grain == pytest.approx(image.std())


def test_steel_around__slopes_and_grain():
    """A plane; squares of a ring's places are about 0.2 of a side's.

    Mean of y^2 over the ring from 0.5 to 0.65 sides: 0.208 by integration,
    so a slope is drawn to 0.208 / (0.208 + 0.2) of itself.
    """
    y, x = np.mgrid[:200, :200]
    image = (60 + 0.4 * y + 0.2 * x)[..., None]
    steel = steel_around(image, (50, 50, 150, 150))
    inner, outer = 1.0, 1.3
    square = (outer**4 - inner**4) / 12 / (outer**2 - inner**2)
    share = square / (square + 0.2)
    assert steel.slopes == pytest.approx([40 * share, 20 * share], rel=0.01)
    assert steel.mean == pytest.approx(60 + 0.6 * 99.5, abs=0.5)
    middle = steel.below(101, 101)[50, 50, 0]
    assert middle == pytest.approx(steel.mean, abs=1e-4)
    corners = steel.below(100, 100)[[0, -1], [0, -1], 0]
    total = steel.slopes.sum() * 0.99
    assert corners[1] - corners[0] == pytest.approx(total, rel=1e-4)


def noisy_set(folder, *steels):
    """A defect of 20 x 16 px, 40 darker, in steel of a mean and a grain."""
    infos = []
    for i, (mean, grain) in enumerate(steels):
        rng = np.random.default_rng(i)
        pixels = rng.normal(mean, grain, (60, 100))
        pixels[20:36, 30:50] -= 40
        path = str(folder / f'{i}.png')
        assert cv2.imwrite(path, pixels.round().astype(np.uint8))
        instance = dict(bbox=[30, 20, 50, 36], bbox_label=0, ignore_flag=0)
        infos.append(dict(img_path=path, instances=[instance]))
    return LabelledSet(dict(classes=['a']), infos)


@pytest.mark.parametrize(
    'grain, gain', [(5.0, 1.25), (4.0, 1.0), (16.0, 1.5), (1.0, 1 / 1.5)]
)
def test_put_into__contrast_of_the_steel_there(tmp_path, grain, gain):
    """Steel with more grain shows more; by half at most, either way."""
    examples = DefectExamples(noisy_set(tmp_path, (150, 4.0)))
    rng = np.random.default_rng(5)
    window = rng.normal(120, grain, (64, 64, 1)).round().astype(np.uint8)
    box = np.array([20, 24, 40, 40]) / 64
    made = examples.put_into(window, box, 0, seed=1)[24:40, 20:40]
    assert made.mean() == pytest.approx(120 - 40 * gain, abs=0.15 * 40)
    assert made.std() == pytest.approx(4 * gain, rel=0.15)


def test_draw__from_steel_that_is_alike(tmp_path):
    """Of defects of one size, those of its brightness, then of its grain."""
    steels = [(m, g) for m in (90, 180) for g in (3.0, 12.0)] * 4
    examples = DefectExamples(noisy_set(tmp_path, *steels))
    rng = np.random.default_rng(0)
    near = [x for x, (m, _) in zip(examples.of_class(0), steels) if m == 180]
    here = near[0].around
    drawn = [examples.draw(0, (20, 16), here, rng) for _ in range(100)]
    assert {x.path for x in drawn} == {x.path for x in near}


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
