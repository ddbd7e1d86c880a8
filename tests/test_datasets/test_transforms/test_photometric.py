"""Gamma, noise and blur change what they say and no more."""

import cv2
import numpy as np
import pytest
from mmdet.structures.bbox import HorizontalBoxes
from mmengine.registry import TRANSFORMS

from dsym.datasets.transforms import (
    MildBlur,
    RandomGamma,
    SensorNoise,
)
from dsym.errors import InputError


def apply(image, **config):
    results = TRANSFORMS.build(config)(dict(img=image, other=1))
    assert results['other'] == 1
    assert results['img'].dtype == np.uint8
    assert results['img'].shape == image.shape
    return results['img']


def flat(value, size=(200, 120)):
    return np.full((*size, 3), value, np.uint8)


@pytest.mark.parametrize('transform', [RandomGamma, SensorNoise, MildBlur])
def test_random_numbers_are_numpys(transform):
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 1), np.uint8)
    image = image.repeat(3, 2)
    before = image.copy()
    found = []
    for seed in (0, 0, 1):
        np.random.seed(seed)
        found.append(apply(image, type=transform.__name__))
        assert np.array_equal(found[-1][..., 0], found[-1][..., 2])  # grey
    assert np.array_equal(image, before)  # the caller's pixels
    assert np.array_equal(found[0], found[1])
    assert not np.array_equal(found[0], found[2])


@pytest.mark.parametrize(
    'name', ['RandomGamma', 'SensorNoise', 'RandomPhase', 'CenterBrightness']
)
@pytest.mark.parametrize(
    'image', [flat(9).astype(np.float32), flat(9)[..., 0]]
)
def test_image_that_has_no_grey_values_or_channels(name, image):
    step = TRANSFORMS.build(dict(type=name))
    with pytest.raises(InputError, match=f'{name}: the image is'):
        for _ in range(20):  # RandomPhase takes a tenth of them
            step(dict(img=image))


def test_gamma_follows_its_formula():
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(3, 2)
    found = apply(levels, type='RandomGamma', gamma=(2.0, 2.0))[..., 0].ravel()
    expected = np.arange(256) ** 2 / 255
    assert np.abs(found - expected).max() <= 0.5
    found = apply(levels, type='RandomGamma', gamma=(1.0, 1.0))
    assert np.array_equal(found, levels)


def test_gamma_is_even_in_its_logarithm():
    np.random.seed(0)
    # 64 is 1/4 but for rounding: log_{1/4} gives gamma back
    draws = [
        np.log(apply(flat(64), type='RandomGamma', gamma=(0.5, 2.0))[0, 0, 0])
        for _ in range(300)
    ]
    gammas = (np.array(draws) - np.log(255)) / np.log(64 / 255)
    assert 0.49 < gammas.min() < 0.55 and 1.9 < gammas.max() < 2.03
    assert abs(np.log(gammas).mean()) < 3 * np.log(2) / np.sqrt(3 * 300)


def test_noise_has_the_sigma_and_no_bias():
    np.random.seed(0)
    found = apply(flat(114), type='SensorNoise', sigma=(8.0, 8.0))
    change = found[..., 0].astype(float) - 114
    assert abs(change.std() - 8) < 0.2  # of 24,000 pixels
    assert abs(change.mean()) < 0.2
    neighbours = np.corrcoef(change[:, 1:].ravel(), change[:, :-1].ravel())
    assert abs(neighbours[0, 1]) < 0.03
    none = apply(flat(114), type='SensorNoise', sigma=(0.0, 0.0))
    assert np.array_equal(none, flat(114))


def test_noise_is_clipped():
    np.random.seed(0)
    for value in (0, 255):
        found = apply(flat(value), type='SensorNoise', sigma=(20.0, 20.0))
        assert 0.45 < (found == value).mean() < 0.55


@pytest.mark.parametrize('size', [(60, 90), (61, 91)])
def test_random_phase_keeps_the_spectrum_and_no_box(size):
    rng = np.random.default_rng(0)
    field = cv2.GaussianBlur(rng.standard_normal(size), (0, 0), 1.0, None, 4.0)
    field[20:30, 30:50] += 1  # a defect
    grey = (114 + 20 * field).round().astype(np.uint8)
    results = dict(
        img=grey[..., None].repeat(3, 2),
        gt_bboxes=HorizontalBoxes([[30, 20, 50, 30]]),
        gt_bboxes_labels=np.array([2]),
        gt_ignore_flags=np.array([False]),
    )
    np.random.seed(0)
    found = TRANSFORMS.build(dict(type='RandomPhase', prob=1.0))(results)
    assert [len(found[key]) for key in list(results)[1:]] == [0, 0, 0]
    image = found['img'][..., 0]
    assert np.array_equal(image, found['img'][..., 2])
    before, after = (
        np.abs(np.fft.fft2(x.astype(float))) for x in (grey, image)
    )
    # Rounding adds white noise of deviation 12^-0.5 a pixel: that times the
    # root of the pixels in the spectrum, seldom four times as much.
    assert np.abs(after - before).max() < 4.5 * (image.size / 12) ** 0.5
    assert abs(np.corrcoef(grey.ravel(), image.ravel())[0, 1]) < 0.2


def test_random_phase_leaves_the_other_images_alone():
    results = dict(img=flat(114), gt_bboxes_labels=np.array([2]))
    build = TRANSFORMS.build
    assert build(dict(type='RandomPhase', prob=0.0))(results) is results
    np.random.seed(0)
    step = build(dict(type='RandomPhase', prob=0.3))
    turned = sum(
        not len(step(dict(results))['gt_bboxes_labels']) for _ in range(300)
    )
    assert abs(turned - 90) < 4 * (300 * 0.3 * 0.7) ** 0.5


def default_blur():
    return MildBlur().sigma[1]


@pytest.mark.parametrize('axis', [0, 1])
@pytest.mark.parametrize('sigma', [0.3, default_blur(), 0.79])
def test_strongest_blur__half_of_a_hairline_remains(axis, sigma):
    image = flat(100)
    np.moveaxis(image, axis, 0)[50] = 200
    found = apply(image, type='MildBlur', sigma=(sigma, sigma))
    line = np.moveaxis(found, axis, 0)[50].astype(float) - 100
    side = np.exp(-(np.arange(1, 20) ** 2) / (2 * sigma**2)).sum()
    expected = 100 / (1 + 2 * side)
    assert expected >= 50
    np.testing.assert_allclose(line, expected, atol=1)


def test_weakest_blur_changes_nothing():
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    found = apply(image, type='MildBlur', sigma=(0.1, 0.1))
    assert np.array_equal(found, image)


@pytest.mark.parametrize(
    'config',
    [
        dict(type='RandomPhase', prob=1.5),
        dict(type='RandomGamma', gamma=(0.0, 1.0)),
        dict(type='RandomGamma', gamma=(1.2, 0.8)),
        dict(type='SensorNoise', sigma=(-1.0, 1.0)),
        dict(type='SensorNoise', sigma=(5.0, 1.0)),
        dict(type='MildBlur', sigma=(0.0, 0.5)),
        dict(type='MildBlur', sigma=(0.5, 0.1)),
        dict(type='MildBlur', sigma=(0.1, 1.0)),
    ],
    ids=str,
)
def test_wrong_range(config):
    with pytest.raises(InputError, match=f'{config["type"]}.*give') as error:
        TRANSFORMS.build(config)
    assert '\n' not in str(error.value)
