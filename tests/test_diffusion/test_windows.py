import numpy as np
import pytest

from dsym.diffusion.windows import (
    Window,
    cut_window,
    feathered,
    paste,
    place_window,
    real_instances,
    within_image,
)

SHAPE = 120, 200


@pytest.fixture
def image():
    return np.random.default_rng(0).integers(0, 256, (*SHAPE, 1), np.uint8)


@pytest.mark.parametrize('seed', [None, 0, 1, 2])
@pytest.mark.parametrize(
    'box',
    [(50, 40, 90, 70), (0, 0, 10, 10), (190, 110, 200, 120), (3, 20, 33, 90)],
)
def test_place_window__has_the_box_and_is_in_the_image(box, seed):
    rng = None if seed is None else np.random.default_rng(seed)
    left, top, side = place_window(box, SHAPE, 1.5, rng)
    longer = max(box[2] - box[0], box[3] - box[1])
    assert side == min(max(int(np.ceil(1.5 * longer)), 32), 120)
    assert 0 <= left <= 200 - side and 0 <= top <= 120 - side
    assert left <= box[0] and box[2] <= left + side
    assert top <= box[1] and box[3] <= top + side


def test_place_window__of_a_box_that_is_longer_than_the_image_is_high():
    left, top, side = place_window((10, 50, 190, 60), SHAPE, 1.0)
    assert (top, side) == (0, 120)
    assert 10 <= left and left + side <= 190


def test_boxes__in_parts_of_the_window():
    window = Window(np.zeros((8, 8, 1), np.uint8), left=20, top=40, side=80)
    boxes = window.to_window([[20, 40, 100, 80], [0, 60, 60, 200]])
    assert boxes.tolist() == [[0, 0, 1, 0.5], [0, 0.25, 0.5, 1]]


def test_feather__is_0_outside_and_1_inside():
    alpha = feathered((10, 20, 50, 60), (80, 100))  # 3 px of feather
    assert alpha[:20].max() == alpha[60:].max() == 0
    assert alpha[:, :10].max() == alpha[:, 50:].max() == 0
    assert (alpha[23:57, 13:47] == 1).all()
    assert alpha[40, 10:13] == pytest.approx(np.array([0.5, 1.5, 2.5]) / 3)
    # 15% of 12 px, and 1 px of a hairline
    assert feathered((10, 20, 22, 60), (80, 100))[40, 10:12] == pytest.approx(
        np.array([0.5, 1.5]) / 1.8
    )
    assert feathered((10, 20, 13, 60), (80, 100))[40, 10] == 0.5


def test_feather__of_what_replaces_a_defect_is_wide():
    """30% of 40 px."""
    alpha = feathered((10, 20, 50, 60), (80, 100), replaces=True)
    assert alpha[40, 10:13] == pytest.approx(np.array([0.5, 1.5, 2.5]) / 12)
    assert (alpha[32:48, 22:38] == 1).all()
    assert alpha[:20].max() == alpha[:, 50:].max() == 0


def test_paste__changes_nothing_outside_of_the_boxes(image):
    box = (30, 20, 70, 60)
    window = cut_window(image, *place_window(box, SHAPE, 1.5), 64)
    white = window._replace(image=np.full_like(window.image, 255))
    result = paste(image, white, [box])
    inside = np.zeros(SHAPE, bool)
    inside[20:60, 30:70] = True
    assert np.array_equal(result[~inside], image[~inside])
    assert (result[27:53, 37:63] == 255).all()
    assert not np.shares_memory(result, image)


def test_paste__gives_an_unpainted_window_back(image):
    left, top, side = place_window((30, 20, 94, 84), SHAPE, 1.0)
    window = cut_window(image, left, top, side, side)
    box = (left, top, left + side, top + side)
    assert np.array_equal(paste(image, window, [box]), image)


@pytest.mark.parametrize('least', [10, 80])
def test_place_window__of_a_least_side(least):
    _, _, side = place_window((50, 40, 70, 50), SHAPE, 1.5, min_side=least)
    assert side == max(30, least)


def test_real_instances__without_those_to_ignore():
    first, second = dict(bbox=[0, 0, 1, 1], ignore_flag=0), dict(bbox=[])
    ignored = dict(bbox=[0, 0, 9, 9], ignore_flag=1)
    info = dict(instances=[first, ignored, second])
    assert real_instances(info) == [first, second]


def test_within_image__as_mmdet_gives_them():
    def box(*corners):
        return dict(bbox=[*corners], bbox_label=1)

    info = dict(height=100, width=80, instances=[box(-1, 50, 40, 130)])
    info['instances'] += [box(-9, 0, 0, 9), box(79, 1, 95, 2)]
    found = within_image(info)
    assert found['instances'] == [box(0, 50, 40, 100), box(79, 1, 80, 2)]
    assert len(info['instances']) == 3  # a copy
