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
    mixed, found = MODELS.build(dict(type='PseudoMixUp'))(images, labels)
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
    mosaics, found = MODELS.build(dict(type='PseudoMosaic'))(images, labels)
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
    _, found = MODELS.build(dict(type='PseudoMosaic'))(images, [labels])
    assert found[0].labels.tolist() == [1, 1, 1, 1]
    assert found[0].bboxes[3].tolist() == [36, 20, 39, 30]


@pytest.mark.parametrize('kind', ['PseudoMixUp', 'PseudoMosaic'])
def test_images_without_boxes(kind):
    images, labels = squares(2)
    labels = [one[:0] for one in labels]
    _, found = MODELS.build(dict(type=kind))(images, labels)
    assert [len(one) for one in found] == [0, 0]
