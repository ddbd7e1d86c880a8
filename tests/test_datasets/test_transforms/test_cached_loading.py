"""LoadCachedImageFromFile gives what the file holds, and reads it once."""

import math
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmcv.transforms import LoadImageFromFile
from mmengine.registry import TRANSFORMS

from dsym.available_memory import available_memory
from dsym.datasets.transforms import cached_loading
from dsym.datasets.transforms.cached_loading import GB, PixelStore
from dsym.errors import InputError


@pytest.fixture(autouse=True)
def _new_process(monkeypatch):
    monkeypatch.setattr(cached_loading, '_STORE', PixelStore())


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


def write(folder, *sides):
    """Square images, each of its side."""
    folder.mkdir(exist_ok=True)
    paths = [str(folder / f'{number}.png') for number in range(len(sides))]
    for path, side in zip(paths, sides):
        cv2.imwrite(path, np.zeros((side, side, 3), np.uint8))
    return paths


def kept():
    """Names of the files in the store."""
    return sorted(int(Path(key[-1]).stem) for key in cached_loading._STORE)


def test_memory_is_bounded__sizes_that_differ(tmp_path):
    """Every image counts with its own bytes, and small ones fill the rest."""
    paths = write(tmp_path, 40, 30, 20, 10, 10)
    load = build(max_gb=3 * (40**2 + 20**2 + 10**2) / GB)
    for path in paths:
        load(dict(img_path=path))
    assert kept() == [0, 2, 3]
    assert cached_loading._STORE.nbytes == 3 * (40**2 + 20**2 + 10**2)


def test_memory_is_bounded__one_limit_for_all_options(tmp_path):
    paths = write(tmp_path, 40, 40)
    limit = 3 * 40**2 / GB
    build(max_gb=limit)(dict(img_path=paths[0]))
    for options in (dict(to_float32=True), dict(color_type='grayscale')):
        build(max_gb=limit, **options)(dict(img_path=paths[1]))
    assert kept() == [0]


class Machine:
    """A machine whose memory the tests and kept images take."""

    def __init__(self, free):
        self.free, self.readings = free, 0

    def available(self):
        self.readings += 1
        return self.free - cached_loading._STORE.nbytes


@pytest.fixture
def machine(monkeypatch):
    machine = Machine(8 * 3 * 10**2)  # of eight images
    monkeypatch.setattr(cached_loading, 'available_memory', machine.available)
    return machine


def test_auto__half_of_the_memory_by_all_loaders(
    tmp_path, machine, monkeypatch
):
    """Those of another loader's worker count as well."""
    paths = write(tmp_path, *[10] * 6)
    first, second = build(), build()
    for path in paths[:3]:
        first(dict(img_path=path))
    machine.free -= cached_loading._STORE.nbytes
    monkeypatch.setattr(cached_loading, '_STORE', PixelStore())
    for path in paths:
        second(dict(img_path=path))
    assert kept() == [0]  # three and one: half of eight


def test_auto__others_take_memory(tmp_path, machine):
    paths = write(tmp_path, *[10] * 6)
    load = build()
    machine.free -= 2 * 3 * 10**2  # the training begins
    for path in paths:
        load(dict(img_path=path))
    assert kept() == [0, 1]


def test_auto__memory_is_read_now_and_then(tmp_path, machine, monkeypatch):
    """Every 64 files, or when more was kept than may go unnoticed."""
    paths = write(tmp_path, *[10] * 70)
    machine.free *= 1000
    load = build()
    for path in paths:
        load(dict(img_path=path))
    assert machine.readings == 3  # one when it was built
    monkeypatch.setattr(cached_loading, 'BYTES_A_READING', 2.5 * 3 * 10**2)
    for path in write(tmp_path / 'more', *[10] * 6):
        load(dict(img_path=path))
    # six images were kept since the last reading, then three
    assert machine.readings == 5


def test_auto__workers_have_the_reserve_of_their_parent(tmp_path):
    """A loader's transform goes to its workers with what was measured."""
    load = build()
    assert load.reserve == pytest.approx(available_memory() / 2, rel=0.1)
    assert pickle.loads(pickle.dumps(load)).reserve == load.reserve


def test_auto__one_gb_where_the_system_does_not_tell(monkeypatch):
    monkeypatch.setattr(cached_loading, 'available_memory', lambda: math.inf)
    load = build()
    assert load.fits(10**9) and not load.fits(10**9 + 1)


@pytest.mark.parametrize('wrong', ['all', -1, None])
def test_wrong_limit__one_line(wrong):
    with pytest.raises(InputError, match=r'max_gb=.*auto'):
        build(max_gb=wrong)
