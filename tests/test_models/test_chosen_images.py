"""Which unlabelled images teach the student, and what each weighs."""

import pytest
import torch
from mmengine.structures import InstanceData

from dsym.models.detectors.chosen_images import (
    choose_images,
    refuse_images,
)


def images(*counts, refused=()):
    """Pseudo-labels of images, so many each."""
    made = []
    for i, count in enumerate(counts):
        made.append(InstanceData(bboxes=torch.zeros(count, 4)))
        made[i].set_metainfo(dict(refused=i in refused))
    return made


@pytest.mark.parametrize(
    'empty_images, compares, expected',
    [
        # images 1 and 3 have boxes, 2 has none, 0 is refused
        (False, False, ([1, 3], [0, 1], 0.5, 0.5, True)),
        # 2 is compared with the teacher, and not learnt
        (False, True, ([1, 2, 3], [0, 2], 0.75, 0.5, True)),
        # 2 is background
        (True, False, ([1, 2, 3], [0, 1, 2], 0.75, 0.75, True)),
        (True, True, ([1, 2, 3], [0, 1, 2], 0.75, 0.75, True)),
    ],
)
def test_refused_and_empty_images(empty_images, compares, expected):
    labels = images(2, 1, 0, 3, refused=[0])
    assert choose_images(labels, empty_images, compares) == expected


def test_refused__all_boxes_of_the_image_say_so():
    """Doubtful boxes are of these, and are joined with other images'."""

    class Judge:
        def keep_images(self, samples):
            return [True, False]

    boxes = images(2, 3)
    left = refuse_images(Judge(), [None, None], boxes)
    assert [len(x) for x in left] == [2, 0]
    assert [x.refused for x in left] == [False, True]
    assert len(InstanceData.cat([left[0], boxes[1][:1]])) == 3
    assert boxes[1].refused


def test_nothing_to_see__none():
    assert choose_images(images(1, 2, refused=[0, 1]), True, True) is None
    assert choose_images(images(0, 0), False, compares=False) is None


def test_nothing_to_learn__compared_alone():
    chosen = choose_images(images(0, 0), False, compares=True)
    assert chosen.seen == [0, 1] and chosen.seen_share == 1
    assert chosen.learnt_share == 0 and not chosen.has_labels
