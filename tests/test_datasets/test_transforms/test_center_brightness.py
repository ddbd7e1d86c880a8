"""CenterBrightness: a mean, a contrast, nothing else."""

import numpy as np
from mmengine.registry import TRANSFORMS


def center(image, **options):
    transform = TRANSFORMS.build(dict(type='CenterBrightness', **options))
    return transform(dict(img=image, other=1))


def test_same_image_in_another_light():
    """Two lights of one surface give the same pixels."""
    rng = np.random.default_rng(0)
    surface = rng.integers(90, 130, (20, 30, 1)).repeat(3, 2).astype(np.uint8)
    dark, bright = center(surface - 60), center(surface + 60)
    assert dark['other'] == 1
    assert dark['img'].dtype == np.uint8
    assert np.array_equal(dark['img'], bright['img'])
    assert abs(dark['img'].mean() - 114) <= 0.5
    moved = dark['img'].astype(int) - surface
    assert len(np.unique(moved)) == 1  # every pixel by the same amount


def test_contrast_about_the_mean():
    image = np.array([[[100] * 3, [140] * 3]], dtype=np.uint8)
    found = center(image, mean=50, contrast=(0.5, 0.5))['img']
    assert found[0, :, 0].tolist() == [40, 60]
    factors = [
        (center(image, contrast=(0.6, 1.4))['img'][0, 1, 0] - 114.0) / 20
        for _ in range(200)
    ]
    assert 0.6 <= min(factors) < 0.7 and 1.3 < max(factors) <= 1.4


def test_what_does_not_fit_is_clipped():
    image = np.array([[[0] * 3, [0] * 3, [0] * 3, [255] * 3]], dtype=np.uint8)
    # mean 63.75: 255 would become 305
    assert center(image)['img'][0, :, 0].tolist() == [50, 50, 50, 255]
