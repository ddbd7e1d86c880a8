"""LoadCachedImageFromFile gives what the file holds, and reads it once."""

import cv2
import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile
from mmengine.registry import TRANSFORMS
from torch.utils.data import DataLoader

from dsym.available_memory import available_memory
from dsym.datasets.transforms import cached_loading
from dsym.errors import InputError


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


class Limits:
    """What each item's worker may keep, in bytes."""

    def __init__(self):
        self.load = build()

    def __len__(self):
        return 8

    def __getitem__(self, index):
        return self.load.limit()


@pytest.fixture
def no_share():
    cached_loading.memory_share.cache_clear()
    yield
    cached_loading.memory_share.cache_clear()


def test_auto__half_of_the_memory_by_the_workers(no_share, monkeypatch):
    """A tenth more or less: other programs run as well."""
    for name in ('LOCAL_WORLD_SIZE', 'SLURM_NTASKS_PER_NODE'):
        monkeypatch.delenv(name, raising=False)
    half = available_memory() / 2
    (alone,) = {float(x) for x in DataLoader(Limits(), batch_size=None)}
    assert alone == pytest.approx(half, rel=0.1)
    # the workers are forked from a process that knows its own share
    for share in DataLoader(Limits(), batch_size=None, num_workers=2):
        assert float(share) == pytest.approx(half / 2, rel=0.1)


def test_auto__by_the_processes_of_the_machine(no_share, monkeypatch):
    monkeypatch.setenv('LOCAL_WORLD_SIZE', '8')
    expected = available_memory() / 2 / 8
    assert build().limit() == pytest.approx(expected, rel=0.1)


@pytest.mark.parametrize('wrong', ['all', -1, None])
def test_wrong_limit__one_line(wrong):
    with pytest.raises(InputError, match=r'max_gb=.*auto'):
        build(max_gb=wrong)
