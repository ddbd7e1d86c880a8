import numpy as np
import pytest
import torch
from mmdet.structures.bbox import HorizontalBoxes
from mmengine.registry import TRANSFORMS

from dsym.errors import InputError


def sample() -> dict:
    """A bright box of (x 10 to 30, y 40 to 50) on 60 x 80 px of noise."""
    image = np.random.default_rng(0).integers(0, 99, (60, 80, 3), np.uint8)
    image[40:50, 10:30] = 255
    boxes = HorizontalBoxes(torch.tensor([[10.0, 40.0, 30.0, 50.0]]))
    return dict(img=image, img_shape=(60, 80), gt_bboxes=boxes)


def test_image_boxes_and_homography_move_together() -> None:
    before = sample()['img']
    found = TRANSFORMS.build(dict(type='RandomTranspose', prob=1.0))(sample())
    assert found['img_shape'] == (80, 60)
    np.testing.assert_array_equal(found['img'], before.transpose(1, 0, 2))
    assert found['gt_bboxes'].tensor.tolist() == [[40.0, 10.0, 50.0, 30.0]]
    assert (found['img'][10:30, 40:50] == 255).all()
    moved = found['homography_matrix'] @ [12.0, 45.0, 1.0]
    assert moved.tolist() == [45.0, 12.0, 1.0]


@pytest.mark.parametrize('prob, expected', [(0.0, 0), (0.25, 250)])
def test_share_of_images(prob: float, expected: int) -> None:
    """Of 1,000: a binomial's deviation is 14."""
    transform = TRANSFORMS.build(dict(type='RandomTranspose', prob=prob))
    np.random.seed(0)
    turned = [
        transform(dict(img=np.zeros((2, 3, 3), np.uint8)))['img'].shape[0] == 3
        for _ in range(1000)
    ]
    assert abs(sum(turned) - expected) <= 3 * 14


def test_images_without_boxes() -> None:
    image = sample()['img']
    found = TRANSFORMS.build(dict(type='RandomTranspose', prob=1.0))(
        dict(img=image, gt_bboxes=HorizontalBoxes(torch.zeros(0, 4)))
    )
    assert found['gt_bboxes'].tensor.shape == (0, 4)


def test_images_without_annotations__as_unlabelled_views_have_them() -> None:
    found = sample()
    del found['gt_bboxes']
    steps = [
        dict(type='mmdet.LoadEmptyAnnotations', with_bbox=True),
        dict(type='RandomTranspose', prob=1.0),
    ]
    for step in steps:
        found = TRANSFORMS.build(step)(found)
    assert found['img'].shape == (80, 60, 3)
    assert found['gt_bboxes'].shape == (0, 4)


@pytest.mark.parametrize(
    'labels, turned', [([2, 3], True), ([2, 1], False), ([], True)]
)
def test_only_images_of_classes_that_lie_both_ways(
    labels: list, turned: bool
) -> None:
    boxes = torch.tensor([[10.0, 40.0, 30.0, 50.0]]).repeat(len(labels), 1)
    found = TRANSFORMS.build(
        dict(type='RandomTranspose', prob=1.0, classes=[2, 3])
    )(
        dict(
            img=sample()['img'],
            gt_bboxes=HorizontalBoxes(boxes.reshape(-1, 4)),
            gt_bboxes_labels=np.array(labels, np.int64),
        )
    )
    assert (found['img'].shape[:2] == (80, 60)) is turned
    corners = [40.0, 10.0, 50.0, 30.0] if turned else [10.0, 40.0, 30.0, 50.0]
    assert found['gt_bboxes'].tensor.tolist() == [corners] * len(labels)


@pytest.mark.parametrize('key', ['gt_masks', 'gt_seg_map'])
def test_masks__are_refused(key: str) -> None:
    transform = TRANSFORMS.build(dict(type='RandomTranspose', prob=0.0))
    with pytest.raises(InputError, match=f'{key} would stay as it lies'):
        transform({**sample(), key: None})


@pytest.mark.parametrize('prob', [-0.1, 50])
def test_prob__that_is_no_share_is_refused(prob: float) -> None:
    with pytest.raises(InputError, match='is no share: give 0 to 1'):
        TRANSFORMS.build(dict(type='RandomTranspose', prob=prob))
