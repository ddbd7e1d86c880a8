"""PseudoLabelFilter: eqs 19 and 20, its actions, refused images."""

import math

import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData

from dsym.clip import Prompts, RegionSettings
from dsym.clip.pseudo_label_filter import ACTIONS, PseudoLabelFilter
from dsym.clip.scorer import CLIPScorer
from dsym.clip.typical import TypicalImages
from dsym.errors import InputError

PROMPTS = Prompts(
    ('crazing', 'inclusion', 'patches'), normal=('flawless steel',)
)
BOXES = torch.tensor([[8.0, 16, 72, 80], [0, 0, 30, 40], [40, 8, 80, 60]])


@pytest.fixture(scope='module')
def scorer(tmp_path_factory, resnet):
    folder = tmp_path_factory.mktemp('cache')
    regions = RegionSettings('dense', image_size=64)
    return CLIPScorer(resnet, PROMPTS, regions, 'softmax', str(folder))


@pytest.fixture
def make(scorer):
    def pseudo_label_filter(tau=(0.5, 0.5, 0.5), **options):
        return PseudoLabelFilter(scorer, torch.tensor(tau), **options)

    return pseudo_label_filter


def boxes(labels, scores=None, **more):
    labels = torch.tensor(labels)
    scores = [0.9] * len(labels) if scores is None else scores
    return InstanceData(
        bboxes=BOXES[torch.arange(len(labels)) % 3],
        scores=torch.tensor(scores),
        labels=labels,
        rows=torch.arange(len(labels)),
        **more,
    )


def samples(paths):
    meta = dict(ori_shape=(96, 80))
    return [DetDataSample(metainfo=dict(meta, img_path=x)) for x in paths]


@pytest.mark.parametrize('decay', [0.0, 0.7])
@pytest.mark.parametrize('progress', [0.0, 0.5, 1.0])
def test_eq_19__threshold(make, decay, progress):
    judge = make((0.4, 0.5, 0.6), decay=decay)
    judge.move_thresholds(progress)
    factor = math.exp(-progress * decay)
    assert judge.factor == pytest.approx(factor, rel=1e-12)
    around = torch.tensor([[0.6 * factor] * 3] * 2)
    around += torch.tensor([[-1e-4], [1e-4]])
    assert judge.judge(boxes([2, 2]), around).rows.tolist() == [1]


@pytest.mark.parametrize(
    'score, confidence, kept',
    [
        (0.6, 0.8, True),
        (0.6, 0.6, False),
        (0.4, 0.8, False),
        (0.4, 0.6, False),
        (0.5, 0.8, False),  # both have to be above, not at it
        (0.6, 0.75, False),
    ],
)
def test_eq_20__keeps_if_both_are_above(make, score, confidence, kept):
    judge = make(conf=0.75)
    left = judge.judge(boxes([1], [confidence]), torch.tensor([[1, score, 1]]))
    assert len(left) == kept
    assert left.clip_scores.tolist() == pytest.approx([score] * kept)


def test_drop__by_the_threshold_of_each_class(make):
    scores = torch.tensor([[0.45, 0.9, 0.9]] * 3)
    left = make((0.4, 0.95, 0.0)).judge(boxes([0, 1, 2]), scores)
    assert left.rows.tolist() == [0, 2]


def test_reweight__share_of_the_threshold(make):
    given = boxes([0, 0, 1, 2], weights=torch.tensor([1.0, 0.5, 1.0, 1.0]))
    scores = torch.tensor(
        [[0.2, 0, 0], [0.2, 0, 0], [0, 0.7, 0], [0, 0, -0.1]]
    )
    left = make((0.4, 0.5, 0.5), action='reweight').judge(given, scores)
    # above it a box counts once; a cosine may be negative, a weight not
    torch.testing.assert_close(left.weights, torch.tensor([0.5, 0.25, 1, 0]))
    assert given.weights.tolist() == [1, 0.5, 1, 1]
    plain = make(action='reweight').judge(boxes([0]), scores[:1] + 0.2)
    assert plain.weights.tolist() == pytest.approx([0.8])


def test_relabel__to_the_best_class_that_passes(make):
    scores = torch.tensor(
        [
            [0.6, 0.3, 0.9],  # sure of its own: stays
            [0.3, 0.9, 0.1],  # becomes the second class
            [0.1, 0.2, 0.6],  # the third asks for more
            [0.1, 0.1, 0.1],
        ]
    )
    given = boxes([0, 0, 0, 1])
    left = make((0.5, 0.5, 0.7), action='relabel').judge(given, scores)
    assert left.rows.tolist() == [0, 1]
    assert left.labels.tolist() == [0, 1]
    assert left.clip_scores.tolist() == pytest.approx([0.6, 0.9])
    assert given.labels.tolist() == [0, 0, 0, 1]


def test_negative_scores__count_as_0(make):
    tau, scores = (-0.2, 0.3, 0.0), torch.full((3, 3), -0.1)
    given = boxes([0, 1, 2])
    for action, rows in dict(drop=[0, 2], relabel=[0, 2]).items():
        judge = make(tau, action=action, decay=1.0)
        for progress in (0.0, 1.0):  # a threshold below 0 would rise
            judge.move_thresholds(progress)
            left = judge.judge(given, scores)
            assert left.rows.tolist() == rows
            assert left.labels.tolist() == rows
    left = make(tau, action='reweight').judge(given, scores)
    assert left.weights.tolist() == [1, 0, 1]


def test_relabel__leaves_classes_without_threshold_alone(make):
    scores = torch.tensor([[0.0, 0.9, 0.1], [0.0, 0.2, 0.1], [0.1, 0, 0]])
    judge = make((0.0, 0.5, 0.5), action='relabel')
    left = judge.judge(boxes([0, 1, 2]), scores)
    # the first stays; the second's best is its own; the third moves to one
    # that asks for more than 0
    assert left.rows.tolist() == [0, 2] and left.labels.tolist() == [0, 0]
    left = judge.judge(boxes([1]), torch.zeros(1, 3))
    assert not len(left)


def test_rescore__geometric_mean_without_thresholds(make):
    given = boxes([0, 1, 2], [0.9, 0.4, 0.5])
    scores = torch.tensor([[0.4, 1, 1], [1, 0.9, 1], [1, 1, -0.1]])
    left = make(action='rescore', weight=0.5).judge(given, scores)
    torch.testing.assert_close(left.scores, torch.tensor([0.6, 0.6, 0]))
    assert given.scores.tolist() == pytest.approx([0.9, 0.4, 0.5])


@pytest.mark.parametrize('action', ACTIONS)
def test_no_boxes__stay_none(make, image_paths, action):
    judge = make(action=action)
    left = judge(samples(image_paths[:1]), [boxes([0])[:0]])
    assert len(left[0]) == 0 and not left[0].refused


def test_batch__judged_by_the_scorers_own_scores(make, scorer, image_paths):
    given = [boxes([0, 1, 2]), boxes([2]), boxes([1, 0])]
    shapes = [(96, 80)] * 3
    found = scorer.region_scores(
        image_paths, [x.bboxes for x in given], shapes
    )
    own = [x[torch.arange(len(x)), y.labels] for x, y in zip(found, given)]
    tau = float(torch.cat(own).median())
    judge = make((tau,) * 3)
    left = judge(samples(image_paths), given)
    for boxes_left, score, all_boxes in zip(left, own, given):
        expected = all_boxes.rows[score > tau]
        assert torch.equal(boxes_left.rows, expected)
    kept = sum(map(len, left))
    assert 0 < kept < 6
    counts = judge.take_counts()
    assert counts['images', None] == counts['images_kept', None] == 3
    assert [counts['boxes', i] for i in range(3)] == [2, 2, 2]
    assert sum(counts['boxes_kept', i] for i in range(3)) == kept
    for i in range(3):
        mine = torch.cat([x[y.labels == i] for x, y in zip(own, given)])
        assert counts['score', i] == pytest.approx(float(mine.sum()), rel=1e-4)
    assert not judge.counts


@pytest.mark.parametrize(
    'action, sure', [('drop', [0, 1, 2]), ('rescore', [0, 2])]
)
def test_background__is_sought_where_no_sure_box_is(
    make, scorer, image_paths, monkeypatch, action, sure
):
    asked = []

    def region_scores(paths, boxes, shapes, occupied):
        asked.extend([*boxes, *occupied])
        return [torch.ones(len(x), 3) for x in boxes]

    monkeypatch.setattr(scorer, 'region_scores', region_scores)
    given = boxes([0, 1, 2], [0.9, 0.29, 0.3])
    make(action=action)(samples(image_paths[:1]), [given])
    # after the selection all are sure, before it those of 0.3 and more
    assert torch.equal(asked[0], BOXES) and torch.equal(asked[1], BOXES[sure])


def test_image_threshold__refuses_what_is_not_above_it(
    make, scorer, image_paths
):
    shapes = [(96, 80)] * 3
    scores = scorer.image_scores(image_paths, shapes)
    low, middle, _ = scores.sort().values.tolist()
    judge = make(
        (0.0,) * 3, image_tau=(low + middle) / 2, action='reweight', decay=9.0
    )
    left = judge(samples(image_paths), [boxes([0, 1]) for _ in range(3)])
    refused = [x.refused for x in left]
    assert refused == (scores == low).tolist()
    assert [len(x) for x in left] == [0 if x else 2 for x in refused]
    counts = judge.take_counts()
    assert counts['images', None] == 3 and counts['images_kept', None] == 2
    assert counts['boxes', 0] == 3 and counts['boxes_kept', 0] == 2
    judge.move_thresholds(1.0)  # a threshold near 0 refuses none
    assert judge.keep_images(samples(image_paths)) == [True] * 3


def test_refused_before__images_are_not_asked_about_again(
    make, image_paths, monkeypatch
):
    judge = make((0.0,) * 3, image_tau=0.5)
    monkeypatch.delattr(PseudoLabelFilter, 'keep_images')
    given = [boxes([0, 1]) for _ in range(3)]
    for labels, refused in zip(given, (False, True, False)):
        labels.set_metainfo(dict(refused=refused))
    left = judge(samples(image_paths), given)
    assert [len(x) for x in left] == [2, 0, 2]
    assert [x.refused for x in left] == [False, True, False]


def test_typical__refuses_what_resembles_no_labelled_image(
    make, scorer, image_paths
):
    described = scorer.describe(image_paths)
    typical = TypicalImages(described[1:])
    far = float(typical(described[:1]))
    options = dict(typical=typical, typical_tau=far / 2)
    judge = make((0.0,) * 3, **options)
    assert judge.keep_images(samples(image_paths)) == [False, True, True]
    judge = make((0.0,) * 3, **options | dict(typical_tau=2 * far))
    assert judge.keep_images(samples(image_paths)) == [True] * 3


def test_unknown_action__lists_them(make):
    with pytest.raises(InputError, match="'keep': give one of drop, rewei"):
        make(action='keep')


def test_images__are_embedded_once_and_outside_of_autocast(
    make, scorer, image_paths, monkeypatch
):
    typical = TypicalImages(scorer.describe(image_paths[:1]))
    options = dict(image_tau=0.5, typical=typical, typical_tau=-0.1)
    exact = make(**options)
    exact.keep_images(samples(image_paths))
    embed, asked = scorer.embed_regions, []

    def embed_regions(paths, *args):
        asked.extend(paths)
        return embed(paths, *args)

    monkeypatch.setattr(scorer, 'embed_regions', embed_regions)
    judge = make(**options)
    with torch.autocast('cpu', torch.bfloat16):
        judge.keep_images(samples(image_paths))
        judge.keep_images(samples(image_paths))
    assert asked == [*image_paths]
    assert judge._images == exact._images
