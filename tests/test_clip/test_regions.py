"""Regions: boxes, crops and pooled features against torch and torchvision."""

import pytest
import torch
from tiny_clip import SIZE
from torch.nn import functional as F
from torchvision.ops import roi_align
from torchvision.transforms.functional import resize

from dsym.clip import RegionSettings
from dsym.clip.regions import (
    centered,
    check_dense,
    crop,
    dense_features,
    expand_boxes,
    pool_regions,
    squash,
)
from dsym.errors import InputError


def noise(*shape):
    return 255 * torch.rand(shape, generator=torch.Generator().manual_seed(0))


def test_expand_boxes__about_their_centres():
    boxes = torch.tensor([[10.0, 20, 30, 24], [0, 0, 8, 8]])
    expected = torch.tensor([[5.0, 19, 35, 25], [-2, -2, 10, 10]])
    torch.testing.assert_close(expand_boxes(boxes, 1.5), expected)
    torch.testing.assert_close(expand_boxes(boxes, 1.0), boxes)


def test_squash__is_torchvisions_resize():
    image = noise(3, 96, 80)
    expected = resize(image, [SIZE, SIZE], antialias=True)
    torch.testing.assert_close(squash(image, SIZE), expected)
    assert squash(expected, SIZE) is expected


def test_centered__mean_of_yolos_padding():
    image = 100 + noise(3, 8, 8) / 10
    assert float(centered(image).mean()) == pytest.approx(114, abs=1e-3)
    torch.testing.assert_close(centered(image), centered(image + 20))


def test_crop__of_its_own_size_is_a_slice():
    image = noise(3, 96, 80)
    boxes = torch.tensor([[8.0, 16, 72, 80], [-50, 16, 64, 80]])
    whole, clipped = crop(image, boxes, SIZE)
    torch.testing.assert_close(whole, image[:, 16:80, 8:72])
    torch.testing.assert_close(clipped, image[:, 16:80, :64])


def test_crop__shrinks_and_grows_as_a_resize():
    image = noise(3, 2 * SIZE, 2 * SIZE)
    box = torch.tensor([[0.0, 0, 2 * SIZE, 2 * SIZE]])
    torch.testing.assert_close(
        crop(image, box, SIZE), F.avg_pool2d(image[None], 2)
    )
    grown = F.interpolate(image[None], scale_factor=2, mode='bilinear')
    torch.testing.assert_close(crop(image, box, 4 * SIZE), grown)


@torch.no_grad()
@pytest.mark.parametrize('times', [1, 2])
def test_whole_image__is_what_the_tower_makes_of_all_features(resnet, times):
    visual, side = resnet.model.visual, times * SIZE
    images = resnet.normalize(noise(2, 3, side, side))
    features = dense_features(visual, images)
    assert features.shape == (2, 128, side // 16, side // 16)
    found = pool_regions(
        visual,
        features,
        [torch.tensor([[0.0, 0, 50, 25]])] * 2,  # of images of 50 x 25 px
        [torch.tensor([side / 50, side / 25] * 2)] * 2,
    )
    if times == 1:
        expected = visual(images)
    else:
        pooled = F.avg_pool2d(features, times)
        expected = visual.attnpool(visual.layer4(pooled))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_box__is_pooled_as_torchvision_does(resnet):
    visual = resnet.model.visual
    features = dense_features(visual, resnet.normalize(noise(2, 3, 96, 96)))
    boxes = [
        torch.tensor([[5.0, 7, 40, 31], [-9, 3, 20, 60]]),
        torch.tensor([[11.0, 2, 47, 44]]),
    ]
    scales = [torch.tensor([2.0, 1.5, 2.0, 1.5]), torch.full((4,), 2.0)]
    pixels = [(b * s).clamp(0, 96) for b, s in zip(boxes, scales)]
    cut = roi_align(features, pixels, 4, 1 / 16, 0, aligned=True)
    torch.testing.assert_close(
        pool_regions(visual, features, boxes, scales),
        visual.attnpool(visual.layer4(cut)),
        rtol=1e-4,
        atol=1e-5,
    )


def test_vit__has_no_features_to_pool(vit, resnet):
    check_dense(resnet.model)
    with pytest.raises(InputError, match=r"VisionTransformer.*way='crops'"):
        check_dense(vit.model)


def test_unknown_way__lists_the_ways():
    with pytest.raises(InputError, match="way='roi': give one of crops, den"):
        RegionSettings(way='roi')


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        (dict(expand=()), r'expand=\(\): give a list'),
        (dict(expand=1.0), 'expand=1.0: give a list'),
        (dict(expand=(1.0, 0.0)), 'factors over 0'),
        (dict(image_size=0), 'image_size=0: give 16 px'),
    ],
)
def test_numbers_that_cannot_be__are_told(options, message):
    with pytest.raises(InputError, match=message):
        RegionSettings(**options)
