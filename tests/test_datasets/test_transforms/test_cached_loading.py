"""LoadCachedImageFromFile gives what the file holds, and reads it once."""

import cv2
import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile
from mmengine.registry import TRANSFORMS

from dsym.datasets.transforms import cached_loading


@pytest.fixture(autouse=True)
def empty_store():
    cached_loading._STORES.clear()
    yield
    cached_loading._STORES.clear()


@pytest.fixture
def image(tmp_path):
    path = str(tmp_path / 'a.png')
    pixels = np.arange(5 * 7 * 3, dtype=np.uint8).reshape(5, 7, 3)
    cv2.imwrite(path, pixels)
    return path, pixels


def build(**kwargs):
    return TRANSFORMS.build(dict(type='LoadCachedImageFromFile', **kwargs))


def test_equals_mmcv_and_survives_the_file(image, tmp_path):
    path, pixels = image
    load = build()
    expected = LoadImageFromFile()(dict(img_path=path))
    first = load(dict(img_path=path))
    first['img'][:] = 0  # transforms write into the image they get
    (tmp_path / 'a.png').unlink()
    again = build()(dict(img_path=path))  # another instance: a mosaic's
    assert first.keys() == again.keys() == expected.keys()
    assert again['img_shape'] == again['ori_shape'] == (5, 7)
    np.testing.assert_array_equal(again['img'], pixels)


def test_other_options__not_shared(image):
    path, pixels = image
    build()(dict(img_path=path))
    gray = build(color_type='grayscale')(dict(img_path=path))['img']
    assert gray.shape[:2] == (5, 7)
    assert not np.array_equal(np.squeeze(gray), pixels[..., 0])


def test_memory_is_bounded(image, tmp_path):
    path, _ = image
    load = build(max_gb=5 * 7 * 3 / 1e9)  # one image
    other = str(tmp_path / 'b.png')
    cv2.imwrite(other, np.zeros((5, 7, 3), np.uint8))
    load(dict(img_path=path))
    load(dict(img_path=other))
    assert list(load.store()) == [path]
