"""Mixed images and their pseudo-labels."""

import pytest
import torch
from mmengine.registry import MODELS
from mmengine.structures import InstanceData

BOXES = torch.tensor(
    [[8.0, 12, 40, 28], [20, 4, 60, 44], [0, 0, 16, 48], [30, 20, 62, 46]]
)


def squares(count=4):
    """Images of 48 x 64 px, each with a bright box of its own grey."""
    images = torch.zeros(count, 1, 48, 64)
    labels = []
    for i, box in enumerate(BOXES[:count]):
        x1, y1, x2, y2 = box.int().tolist()
        images[i, :, y1:y2, x1:x2] = i + 1.0
        labels.append(
            InstanceData(
                bboxes=box[None],
                scores=torch.tensor([0.5 + 0.1 * i]),
                labels=torch.tensor([i]),
            )
        )
    return images, labels


def bounds(mask):
    """The box around a mask."""
    y, x = mask.nonzero(as_tuple=True)
    return [x.min(), y.min(), x.max() + 1, y.max() + 1]


def test_mixup():
    torch.manual_seed(2)
    others = torch.randperm(4).tolist()
    assert 0 < sum(i == j for i, j in enumerate(others)) < 4
    torch.manual_seed(2)
    images, labels = squares()
    mixed, found, _ = MODELS.build(dict(type='PseudoMixUp'))(
        images, labels, labels
    )
    for i, j in enumerate(others):
        mean = (images[i] + images[j]) / 2
        torch.testing.assert_close(mixed[i], mean)
        # the labels of both, and not twice of one with itself
        assert found[i].labels.tolist() == ([i, j] if i != j else [i])
        assert torch.equal(found[i].bboxes, BOXES[found[i].labels])
    assert images.max() == 4  # untouched
    assert len(labels[0]) == 1


@pytest.mark.parametrize('seed', range(3))
def test_mosaic(seed):
    torch.manual_seed(seed)
    images, labels = squares()
    mosaics, found, _ = MODELS.build(dict(type='PseudoMosaic'))(
        images, labels, labels
    )
    assert mosaics.shape == images.shape
    seen = []
    for mosaic, boxes in zip(mosaics, found):
        assert len(boxes) == 4
        tiles = [(x, y) for y in (0, 24) for x in (0, 32)]
        for (x, y), box, label in zip(tiles, boxes.bboxes, boxes.labels):
            # above half its grey: where the object is, edges blurred
            tile = torch.zeros(48, 64, dtype=torch.bool)
            tile[y : y + 24, x : x + 32] = True
            bright = mosaic[0] > (label + 1) / 2
            assert box.tolist() == bounds(bright & tile)
            value = (label + 1).item()
            assert (mosaic[0] * tile).max() == pytest.approx(value)
            seen.append(label.item())
        assert boxes.scores.tolist() == pytest.approx(
            (0.5 + 0.1 * boxes.labels).tolist()
        )
    # each image is in four of them
    assert sorted(seen) == sorted([0, 1, 2, 3] * 4)


def test_mosaic__small_boxes_are_dropped():
    """4 px become 2, which is not more than 2; 6 become 3."""
    images = torch.zeros(1, 3, 32, 64)
    labels = InstanceData(
        bboxes=torch.tensor([[8.0, 8, 12, 28], [8, 8, 14, 28]]),
        scores=torch.ones(2),
        labels=torch.tensor([0, 1]),
    )
    _, found, _ = MODELS.build(dict(type='PseudoMosaic'))(
        images, [labels], [labels]
    )
    assert found[0].labels.tolist() == [1, 1, 1, 1]
    assert found[0].bboxes[3].tolist() == [36, 20, 39, 30]


@pytest.mark.parametrize('kind', ['PseudoMixUp', 'PseudoMosaic'])
def test_images_without_boxes(kind):
    images, labels = squares(2)
    labels = [one[:0] for one in labels]
    _, found, ignored = MODELS.build(dict(type=kind))(images, labels, labels)
    assert [len(one) for one in found] == [0, 0]
    assert [len(one) for one in ignored] == [0, 0]


def ignored_of(*images):
    """Boxes to ignore, without what labels have beside their places."""
    return [InstanceData(bboxes=torch.tensor(x).view(-1, 4)) for x in images]


def test_mixup__ignored_boxes_of_both_images():
    images, labels = squares(2)
    ignored = ignored_of([[1.0, 2, 30, 40], [5, 5, 9, 9]], [])
    mix = MODELS.build(dict(type='PseudoMixUp'))
    # in the order [1, 0] both images are both of them
    found = mix.mix_boxes(ignored, [[1, 0]], images)
    expected = [[1, 2, 30, 40], [5, 5, 9, 9]]
    assert [one.bboxes.tolist() for one in found] == [expected] * 2
    # and in their own order each stays alone
    found = mix.mix_boxes(ignored, [[0, 1]], images)
    assert [one.bboxes.tolist() for one in found] == [expected, []]
    for seed in range(3):
        generator = torch.Generator().manual_seed(seed)
        _, mixed, found = mix(images, labels, ignored, generator)
        for labels_of_one, one in zip(mixed, found):
            of_first = 0 in labels_of_one.labels
            assert one.bboxes.tolist() == (expected if of_first else [])


def test_mosaic__ignored_boxes_are_moved_and_dropped_as_labels_are():
    """Halved in each tile of 24 x 32 px; a height of 4 px becomes 2."""
    images = torch.zeros(2, 1, 48, 64)
    _, labels = squares(2)
    ignored = ignored_of(
        [[8.0, 12, 40, 28], [8, 8, 40, 12]], [[0.0, 0, 64, 48]]
    )
    mix = MODELS.build(dict(type='PseudoMosaic'))
    orders = [[0, 1], [1, 0], [0, 1], [0, 1]]
    first, _ = mix.mix_boxes(ignored, orders, images)
    assert first.bboxes.tolist() == [
        [4, 6, 20, 14],  # of the first image, upper left
        [32, 0, 64, 24],  # of the second, upper right
        [4, 30, 20, 38],
        [36, 30, 52, 38],
    ]
    generator = torch.Generator().manual_seed(0)
    _, mixed, found = mix(images, labels, ignored, generator)
    for labels_of_one, one in zip(mixed, found):
        assert len(labels_of_one) == len(one) == 4
