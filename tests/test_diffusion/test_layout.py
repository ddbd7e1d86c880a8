"""DefectLayout: where what is painted, against the labelled set's counts."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from tiny_diffusion import DEFECTS, HEIGHT, WIDTH, write_steel

from dsym.diffusion.layout import DefectLayout, grown, in_windows, overlap
from dsym.errors import InputError

DRAWS = 400


@pytest.fixture(scope='module')
def labelled(tmp_path_factory):
    """Class 0 is shown by images 0, 2, 3; class 1 by images 1, 3."""
    return write_steel(tmp_path_factory.mktemp('steel'))


def plans(labelled, count=DRAWS, **options):
    layout = DefectLayout(labelled, **options)
    return [
        layout.draw(np.random.default_rng([7, i]), i) for i in range(count)
    ]


def true_sides(label):
    return np.array(
        [
            (x2 - x1, y2 - y1)
            for of_image in DEFECTS
            for mine, (x1, y1, x2, y2) in of_image
            if mine == label
        ]
    )


@pytest.mark.parametrize('spread', [1.0, 1.25])
def test_boxes__in_the_image_and_as_large_as_the_classes(labelled, spread):
    for plan in plans(labelled, spread=spread):
        assert plan.shape == (HEIGHT, WIDTH)
        assert 1 <= len(plan.boxes) == len(plan.labels) <= 3
        assert len({*plan.labels}) == 1
        assert (plan.boxes >= 0).all()
        assert (plan.boxes[:, 2:] <= (WIDTH, HEIGHT)).all()
        known = true_sides(plan.labels[0])
        for x1, y1, x2, y2 in plan.boxes:
            factors = np.array([x2 - x1, y2 - y1]) / known
            near = (factors < spread + 1e-4) & (factors > 1 / spread - 1e-4)
            assert near.all(1).any()


def test_boxes__cover_each_other_by_the_share_allowed(labelled):
    seen = []
    for plan in plans(labelled, max_overlap=0.3):
        seen += [
            overlap(a, b)
            for i, a in enumerate(plan.boxes)
            for b in plan.boxes[:i]
        ]
    assert 0.1 < max(seen) <= 0.3  # with 0.1, it is used as far as it goes


def test_overlap__share_of_the_smaller_box():
    large, small = np.array([0.0, 0, 10, 10]), np.array([8.0, 8, 12, 10])
    assert overlap(large, small) == overlap(small, large) == 4 / 8
    assert overlap(small, np.array([12.0, 0, 20, 20])) == 0


@pytest.mark.parametrize('balance, share', [(False, 3 / 5), (True, 1 / 2)])
def test_classes__as_often_as_images_show_them(labelled, balance, share):
    counts = Counter(
        int(x.labels[0]) for x in plans(labelled, balance=balance)
    )
    # four standard deviations of a share
    margin = 4 * (share * (1 - share) / DRAWS) ** 0.5
    assert counts[0] / DRAWS == pytest.approx(share, abs=margin)
    assert counts[0] + counts[1] == DRAWS


def test_background__shows_the_class(labelled):
    for plan in plans(labelled):
        of_image = DEFECTS[int(Path(plan.path).stem)]
        assert plan.labels[0] in {label for label, _ in of_image}


def test_number__as_the_images_of_the_class(labelled):
    """Image 0 shows two dark spots, images 2 and 3 one; of lines all one."""
    counts = Counter(
        (int(x.labels[0]), len(x.boxes))
        for x in plans(labelled, max_overlap=1.0)
    )
    assert {*counts} == {(0, 1), (0, 2), (1, 1)}
    dark = counts[0, 1] + counts[0, 2]
    assert counts[0, 2] / dark == pytest.approx(1 / 3, abs=0.13)
    most = plans(labelled, max_boxes=1)
    assert {len(x.boxes) for x in most} == {1}


def test_clean__true_boxes_are_erased(labelled):
    for plan in plans(labelled, 40):
        truth = [box for _, box in DEFECTS[int(Path(plan.path).stem)]]
        assert np.array_equal(plan.erased, grown(np.array(truth, np.float32)))
        assert plan.gone.tolist() == [[*x] for x in truth]
        assert plan.kept.shape == (0, 4) and len(plan.kept_labels) == 0


def test_keep__true_boxes_stay_and_are_not_covered(labelled):
    for plan in plans(labelled, 100, background='keep'):
        true_labels, truth = zip(*DEFECTS[int(Path(plan.path).stem)])
        assert len(plan.erased) == len(plan.gone) == 0
        assert plan.kept.tolist() == [[*x] for x in truth]
        assert plan.kept_labels.tolist() == [*true_labels]
        for a in plan.boxes:
            assert all(overlap(a, b) <= 0.1 for b in plan.kept)


@pytest.mark.parametrize(
    'options, counts',
    [
        (dict(), {1}),
        (dict(share=1.0), {1, 2}),
        (dict(share=1.0, max_boxes=1), {1}),
        (dict(share=0.0), {1}),  # an image that shows nothing new is none
    ],
)
def test_replace__some_of_the_true_boxes(labelled, options, counts):
    found = plans(labelled, 100, background='replace', **options)
    assert {len(x.boxes) for x in found} == counts
    for plan in found:
        assert plan.replaces
        assert len(plan.erased) == len(plan.gone) == 0
        painted = [*zip(plan.labels, map(tuple, plan.boxes.tolist()))]
        kept = [*zip(plan.kept_labels, map(tuple, plan.kept.tolist()))]
        truth = DEFECTS[int(Path(plan.path).stem)]
        assert sorted(painted + kept) == sorted(truth)


def test_replace__no_box_that_covers_another(tmp_path):
    """The large box hides half of the small one, and of none the other."""
    large, small = (0, (0, 0, 40, 40)), (1, (30, 10, 50, 20))
    alone = (0, (60, 40, 80, 60))
    labelled = write_steel(tmp_path, [[large, small, alone]])
    for plan in plans(labelled, 40, background='replace', share=1.0):
        painted = {tuple(x) for x in plan.boxes.tolist()}
        # 100 of the large one's 1,600 px are the small one's: under a tenth
        assert painted == {small[1], alone[1]}
        assert plan.kept.tolist() == [[*large[1]]]


def test_replace__every_image_once_before_one_comes_again(labelled):
    """Images have weights of their own when drawn at random: 0 to 4 of 4."""
    layout = DefectLayout(labelled, 'replace')
    orders = []
    for seed in range(20):
        names = [
            int(Path(layout.draw(rng, i, seed).path).stem)
            for i in range(8)
            for rng in [np.random.default_rng([seed, i])]
        ]
        assert sorted(names[:4]) == sorted(names[4:]) == [0, 1, 2, 3]
        orders += [tuple(names[:4]), tuple(names[4:])]
    assert len({*orders}) > 10  # of 24, each deal has its own


def test_replace__balanced_classes_are_drawn_not_dealt(labelled):
    found = plans(labelled, background='replace', balance=True)
    first = Counter(int(x.labels[0]) for x in found if len(x.labels) == 1)
    # by a deal 2 of 4 images would always show class 0, 1 always class 1
    assert abs(first[0] / sum(first.values()) - 0.5) < 0.1


def test_replace__the_drawn_class_first(labelled):
    """Of an image with both classes, one box is replaced: the drawn class."""
    layout = DefectLayout(labelled, 'replace', share=0.0)
    for label in (0, 1):
        for seed in range(30):
            plan = layout._draw_of(label, np.random.default_rng(seed))
            assert [*plan.labels] == [label]


@pytest.mark.parametrize('background', ['clean', 'keep', 'replace'])
def test_classes__the_others_are_not_painted(labelled, background):
    for plan in plans(labelled, 40, background=background, classes=[1]):
        assert {*plan.labels} == {1}
    with pytest.raises(InputError, match=r'box of the classes \[\], so'):
        DefectLayout(labelled, background, classes=[])


def test_replace__never_an_ignored_box(tmp_path):
    labelled = write_steel(tmp_path)
    labelled.infos[0]['instances'][1]['ignore_flag'] = 1
    for plan in plans(labelled, 60, background='replace', share=1.0):
        if Path(plan.path).stem == '0':
            assert plan.boxes.tolist() == [[8, 10, 24, 26]]
            assert plan.kept_ignored.tolist() == [True]


@pytest.mark.parametrize('background', ['keep', 'replace'])
def test_decoys__where_no_defect_is(labelled, background):
    options = dict(background=background, decoys=2, max_overlap=0.5)
    counts = Counter()
    for plan in plans(labelled, 60, **options):
        counts[len(plan.decoys)] += 1
        assert len(plan.gone) == len(plan.erased) == 0
        for a in plan.decoys:
            assert all(overlap(a, b) == 0 for b in plan.kept)
            assert all(overlap(a, b) == 0 for b in plan.boxes)
    # two where there is room, never more
    assert max(counts) == 2 and counts[2] > 20


def test_grown__by_the_feather_of_the_shorter_side():
    boxes = np.array([[10.0, 20, 50, 60], [0, 0, 4, 30]])
    # 3 px at most, 1 px at least
    assert grown(boxes).tolist() == [[7, 17, 53, 63], [-1, -1, 5, 31]]


def test_draw__a_seed_gives_the_same(labelled):
    first, second = plans(labelled, 3), plans(labelled, 3)
    for a, b in zip(first, second):
        assert a.path == b.path and np.array_equal(a.boxes, b.boxes)
    assert not np.array_equal(first[0].boxes, first[1].boxes)


def test_ignored_boxes__are_no_truth(tmp_path):
    labelled = write_steel(tmp_path)
    for info in labelled.infos[1::2]:
        info['instances'][0]['ignore_flag'] = 1
    assert {int(x.labels[0]) for x in plans(labelled, 40)} == {0}


def test_ignored_boxes__are_erased_or_kept_as_such(tmp_path):
    labelled = write_steel(tmp_path)
    labelled.infos[0]['instances'][1]['ignore_flag'] = 1
    for background in ('clean', 'keep'):
        for plan in plans(labelled, 40, background=background):
            if Path(plan.path).stem != '0':
                continue
            if background == 'clean':
                assert len(plan.erased) == 2
            else:
                assert plan.kept_ignored.tolist() == [False, True]


def test_in_windows__long_boxes_in_parts_that_overlap():
    """A box of 100 px of windows of 40: 3 parts of 33 px, 3 px more each."""
    boxes = np.array([[0, 10, 100, 30], [5, 0, 45, 40]], np.float32)
    parts = in_windows(boxes, (40, 120))
    third = 100 / 3
    expected = [[i * third - 3, 10, (i + 1) * third + 3, 30] for i in range(3)]
    np.testing.assert_allclose(parts[:3], expected, atol=1e-4)
    assert parts[3].tolist() == [5, 0, 45, 40]


@pytest.mark.parametrize(
    'width, box, count',
    [
        (200, (1, 1, 199, 199), 1),  # 204 px with its margin, 200 are there
        (200, (0, 90, 200, 110), 1),
        (400, (203, 0, 400, 200), 1),
        (400, (0, 90, 250, 110), 2),
        (400, (150, 0, 350, 200), 2),  # 206 px in the middle of the image
        (400, (0, 20, 400, 60), 3),  # two halves would need 203 px each
    ],
)
def test_in_windows__only_what_is_in_the_image_counts(width, box, count):
    """Of an image that is 200 px high, as its largest window is."""
    boxes = grown(np.array([box], np.float32))
    parts = in_windows(boxes, (200, width))
    assert len(parts) == count
    seen = parts[:, 2::-2].clip(0, width) @ [1, -1]
    assert (seen <= 200).all()
    # beyond the edge as well, where the feather would leave a rim
    assert (parts[:, :2].min(0) <= boxes[0, :2]).all()
    assert (parts[:, 2:].max(0) >= boxes[0, 2:]).all()


def test_in_windows__an_image_no_higher_than_the_margins():
    """Six px are all margin: parts of 1 px and margins."""
    parts = in_windows(np.array([[0, 0, 10, 6]], np.float32), (6, 10))
    assert len(parts) == 10


def test_clean__a_box_in_parts_is_gone_as_a_whole(tmp_path):
    """80 px wide in an image of 64 px: two windows."""
    plan = plans(write_steel(tmp_path, [[(0, (0, 20, 80, 40))]]), 1)[0]
    assert plan.erased.shape == (2, 4)
    assert plan.gone.tolist() == [[0, 20, 80, 40]]


def test_unknown_background__is_refused(labelled):
    with pytest.raises(InputError, match=r"'white'.*clean, keep, replace"):
        DefectLayout(labelled, background='white')


@pytest.mark.parametrize('spread', [0, 0.9, float('nan')])
def test_spread__below_1_is_refused(labelled, spread):
    with pytest.raises(InputError, match='spread='):
        DefectLayout(labelled, spread=spread)


def test_no_box__is_refused(tmp_path):
    with pytest.raises(InputError, match='no image has a box'):
        DefectLayout(write_steel(tmp_path, [[], []]))


@pytest.mark.parametrize(
    'options', [dict(background='keep'), dict(max_boxes=0)]
)
def test_no_room__is_refused(tmp_path, options):
    whole = [[(0, (0, 0, WIDTH, HEIGHT))]]
    with pytest.raises(InputError, match='no room'):
        plans(write_steel(tmp_path, whole), 1, **options)
