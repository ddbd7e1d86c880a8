import pytest

from dsym.evaluation.image_verdicts import judge_images, rank_images


def box(image, category, x, score=None):
    found = dict(image_id=image, category_id=category, bbox=[x, 0, 10, 10])
    return found if score is None else dict(found, score=score)


@pytest.fixture
def verdicts():
    """Four images: perfect, half right, all wrong, and empty."""
    truth = dict(
        images=[dict(id=i) for i in range(1, 5)],
        annotations=[
            box(1, 0, 0),
            box(1, 1, 100),
            box(2, 0, 0),
            box(2, 0, 100),
            box(3, 0, 0),
        ],
    )
    detections = [
        box(1, 1, 100, 0.6),
        box(1, 0, 0, 0.9),
        box(2, 0, 101, 0.9),
        box(2, 0, 102, 0.8),  # second on the same defect
        box(3, 1, 0, 0.9),  # wrong class
        box(4, 0, 0, 0.1),  # below the threshold
    ]
    return judge_images(truth, detections, 0.5)


def test_judge_images__counts(verdicts):
    counts = [
        (x.true_positives, x.false_positives, x.missed) for x in verdicts
    ]
    assert counts == [(2, 0, 0), (1, 1, 1), (0, 1, 1), (0, 0, 0)]
    assert [x.f1 for x in verdicts] == [1, 0.5, 0, 0]


def test_judge_images__tells_which_boxes(verdicts):
    assert [x['score'] for x in verdicts[0].detections] == [0.9, 0.6]
    assert verdicts[1].true.tolist() == [True, False]
    assert verdicts[1].found.tolist() == [False, True]


def test_rank_images__best_and_worst_share_no_image(verdicts):
    best, worst = rank_images(verdicts, 2)
    assert [x.image['id'] for x in best] == [1, 2]
    assert [x.image['id'] for x in worst] == [3]
    best, worst = rank_images(verdicts, 1)
    assert [x.image['id'] for x in best] == [1]
    assert [x.image['id'] for x in worst] == [3]
