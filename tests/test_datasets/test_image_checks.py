import json
import os
import zlib

import cv2
import numpy as np
import pytest
from dataset_files import write_image
from PIL import Image

from dsym.datasets import DatasetError
from dsym.datasets.image_checks import (
    CACHE_VERSION,
    check_image,
    check_images,
    image_size,
    keep_readable,
)


@pytest.fixture
def cache_dir(tmp_path, monkeypatch):
    """An empty cache for one test."""
    monkeypatch.setenv('DSYM_CACHE', str(tmp_path / 'cache'))
    return tmp_path / 'cache'


def test_check_image__size_and_hash_of_the_pixels(tmp_path):
    for name in ('a.png', 'b.bmp'):  # both lossless: the same pixels
        write_image(tmp_path / name, 40, 30, seed=3)
    write_image(tmp_path / 'c.png', 40, 30, seed=4)
    a, b, c = (
        check_image(str(tmp_path / n)) for n in ('a.png', 'b.bmp', 'c.png')
    )
    assert (a.width, a.height, a.error) == (40, 30, '')
    assert a.digest == b.digest != c.digest


def test_truncated_jpeg__opencv_alone_would_accept_it(tmp_path):
    path = tmp_path / 'cut.jpg'
    write_image(path, 200, 200)
    path.write_bytes(path.read_bytes()[:-2000])
    assert cv2.imread(str(path)) is not None
    assert 'truncated' in check_image(str(path)).error


def test_exif_rotation__size_as_opencv_reads_it(tmp_path):
    path = str(tmp_path / 'turned.jpg')
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.zeros((30, 40, 3), np.uint8)).save(path, exif=exif)
    assert cv2.imread(path).shape == (40, 30, 3)
    assert image_size(path) == (30, 40)
    check = check_image(path)
    assert (check.width, check.height) == (30, 40)


def test_cache__second_start_decodes_nothing(tmp_path, cache_dir):
    paths = [str(tmp_path / f'{i}.jpg') for i in range(5)]
    for seed, path in enumerate(paths):
        write_image(tmp_path / os.path.basename(path), seed=seed)
    first = check_images(paths)
    (cache,) = (cache_dir / 'image_checks').glob('*.json')
    written = cache.stat().st_mtime_ns
    # Marked entries prove that the second answer comes from the file.
    stored = json.loads(cache.read_text())
    for entry in stored['images'].values():
        entry[4] = 'from the cache'
    cache.write_text(json.dumps(stored))
    second = check_images(paths)
    assert {check.digest for check in second.values()} == {'from the cache'}
    # A changed file is decoded again, the others are not.
    write_image(tmp_path / '0.jpg', 50, 20, seed=9)
    os.utime(paths[0], ns=(written, written + 1))
    third = check_images(paths)
    assert third[paths[0]].width == 50
    assert third[paths[0]].digest != first[paths[0]].digest
    assert third[paths[1]].digest == 'from the cache'


@pytest.mark.parametrize('content', ['', '[]', '{"version": 0}', '{"ver'])
def test_cache__unusable_file_is_replaced(tmp_path, cache_dir, content):
    path = str(tmp_path / 'a.jpg')
    write_image(tmp_path / 'a.jpg')
    check_images([path])
    (cache,) = (cache_dir / 'image_checks').glob('*.json')
    cache.write_text(content)
    assert check_images([path])[path].width == 40
    assert json.loads(cache.read_text())['version'] == CACHE_VERSION


def test_cache__place_that_cannot_be_written(tmp_path):
    write_image(tmp_path / 'a.jpg')
    path = str(tmp_path / 'a.jpg')
    file = tmp_path / 'file'
    file.write_text('')
    assert check_images([path], str(file / 'below'))[path].width == 40


def test_keep_readable__drops_and_reports(tmp_path):
    write_image(tmp_path / 'ok.jpg')
    (tmp_path / 'bad.jpg').write_bytes(b'?')
    infos = [
        {'img_path': str(tmp_path / f'{name}.jpg')}
        for name in ('ok', 'bad', 'gone')
    ]
    kept, issues = keep_readable(infos)
    assert kept == [
        {'img_path': infos[0]['img_path'], 'width': 40, 'height': 30}
    ]
    assert {i.kind for i in issues} == {'corrupt_image', 'missing_image'}


def test_image_size__unreadable_file_is_one_line(tmp_path):
    path = tmp_path / 'broken.jpg'
    path.write_bytes(b'no image')
    with pytest.raises(DatasetError, match=r'broken\.jpg.*verify_images=True'):
        image_size(str(path))


def test_line_scan__beyond_the_limit_of_pillow(tmp_path, monkeypatch):
    """It refuses twice its limit, which OpenCV decodes all the same."""
    path = tmp_path / 'long.png'
    write_image(path, 40, 30)
    expected = check_image(str(path))
    monkeypatch.setattr(Image, 'MAX_IMAGE_PIXELS', 40 * 30 // 2 - 1)
    with pytest.raises(Image.DecompressionBombError):
        Image.open(path)
    assert check_image(str(path)) == expected
    assert image_size(str(path)) == (40, 30)


def test_cache__of_a_folder_whose_name_is_not_utf8(tmp_path, cache_dir):
    folder = os.fsdecode(os.fsencode(tmp_path) + b'/caf\xe9')
    os.mkdir(folder)
    path = os.path.join(folder, 'a.png')
    write_image(tmp_path / 'a.png', 40, 30)
    os.rename(tmp_path / 'a.png', path)
    assert check_images([path])[path].width == 40
    assert len(os.listdir(cache_dir / 'image_checks')) == 1


@pytest.mark.parametrize(
    ('suffix', 'channels'), [('png', 1), ('png', 3), ('tif', 1)]
)
def test_twelve_bits_in_sixteen__are_refused(tmp_path, suffix, channels):
    """255 x 16 = 4080 is 15 of 255 then; all 16 bits are as good as 8."""
    grey = np.arange(0, 256, dtype=np.uint16).reshape(16, 16)
    if channels == 3:
        grey = np.stack([grey] * 3, -1)
    path = str(tmp_path / f'deep.{suffix}')
    cv2.imwrite(path, grey * 16)
    assert cv2.imread(path).max() == 15
    assert '16 bits hold 12 or fewer' in check_image(path).error
    cv2.imwrite(path, grey * 257)
    assert check_image(path).error == ''
    cv2.imwrite(path, grey * 0)
    assert check_image(path).error == ''


@pytest.mark.parametrize('preview', [False, True])
def test_pages_of_a_tiff__are_not_lost_and_a_preview_is_no_page(
    tmp_path, preview
):
    path = str(tmp_path / 'pages.tif')
    pages = [Image.new('L', (40, 30), grey) for grey in (50, 200)]
    for page in pages[1:]:
        page.encoderinfo = {'tiffinfo': {254: int(preview)}}
    pages[0].save(path, save_all=True, append_images=pages[1:])
    with Image.open(path) as image:
        assert image.n_frames == 2
    check = check_image(path)
    if preview:
        assert check[:2] == (40, 30) and check.error == ''
    else:
        assert 'it has 2 pages' in check.error


def test_header_of_more_pixels_than_opencv_reads__is_an_error(tmp_path):
    """40,000 x 40,000 are more than 2^30."""
    path = tmp_path / 'huge.png'
    write_image(path, 40, 30)
    content = bytearray(path.read_bytes())
    content[16:24] = (40000).to_bytes(4, 'big') * 2
    content[29:33] = zlib.crc32(content[12:29]).to_bytes(4, 'big')
    path.write_bytes(content)
    assert check_image(str(path)).error.startswith('OpenCV: ')


def test_exif_rotation__of_a_tiff_too(tmp_path):
    """Pillow 13 turns the size that it tells of such a file, others do not."""
    path = str(tmp_path / 'turned.tif')
    pixels = np.zeros((30, 40, 3), np.uint8)
    Image.fromarray(pixels).save(path, tiffinfo={0x0112: 6})
    assert image_size(path) == (30, 40)
    assert check_image(path)[:2] == (30, 40)
