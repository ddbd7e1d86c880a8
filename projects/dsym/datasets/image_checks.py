"""Decode every image once before training, and remember the result.

A truncated JPEG does not stop OpenCV, which fills the rest with grey, and an
unreadable one stops a data loader in the epoch that first draws it. Both are
found at start-up instead. Results are cached by path, size and modification
time, so that only new or changed files are decoded at the next start.
"""

import hashlib
import json
import os
import os.path as osp
import tempfile
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from typing import Dict, Iterable, List, NamedTuple, Optional, Tuple

import cv2
import mmcv
import numpy as np
from mmengine.dist import is_main_process
from PIL import Image
from tqdm import tqdm

from ..cache_folder import cache_folder
from .issues import DatasetError, Issue

CACHE_VERSION = 3
# EXIF orientations that swap width and height; OpenCV applies them.
EXIF_ORIENTATION, TRANSPOSED = 0x0112, (5, 6, 7, 8)
# 12 bits in 16: of their 4,096 values OpenCV's 8 bits keep 16, all near black.
TWELVE_BITS = 2**12
PNG_DEPTH = 24  # byte of the header
# TIFF's NewSubfileType: bit 0 is set of previews and levels of a pyramid.
SUBFILE_TYPE, REDUCED = 254, 1


class ImageCheck(NamedTuple):
    """What decoding one image gave.

    Attributes:
        width (int): Pixels; 0 if unreadable.
        height (int): Pixels; 0 if unreadable.
        digest (str): Hash of shape and pixels as the pipelines read them.
        error (str): Why the image is unreadable; empty if it is fine.
    """

    width: int = 0
    height: int = 0
    digest: str = ''
    error: str = ''


def decode_image(path: str) -> Tuple[Optional[np.ndarray], str]:
    """Decode one image completely.

    Pillow decides whether the file is complete, OpenCV (through mmcv, as
    ``LoadImageFromFile`` does) what the pipelines will see.

    Args:
        path (str): Image file.

    Returns:
        tuple[np.ndarray or None, str]: Pixels ``(H, W, 3)``, uint8 in BGR, or
        the reason why it is unreadable.
    """
    try:
        with open(path, 'rb') as file:
            content = file.read()
        if not content:
            return None, 'file is empty'
        with Image.open(BytesIO(content)) as image:
            image.load()
            deep = image.mode.startswith('I') or (
                image.format == 'PNG' and content[PNG_DEPTH] == 16
            )
            pages = count_pages(image)
        if pages > 1:
            return None, (
                f'it has {pages} pages, of which one would be read: save '
                'each as an image'
            )
        if deep and 0 < unchanged(content).max() < TWELVE_BITS:
            return None, (
                'its 16 bits hold 12 or fewer, which 8 bits would make almost '
                'black: scale it to 8 bits'
            )
    except Image.DecompressionBombError:
        pass  # a line scan; OpenCV's own limit is six times as high
    # Pillow's decoders raise whatever their format's parser stumbles over.
    except Exception as error:
        return None, f'{type(error).__name__}: {error}'
    try:
        pixels = mmcv.imfrombytes(content)
    except cv2.error as error:  # more pixels than it reads
        return None, f'OpenCV: {error.err}'
    return pixels, '' if pixels is not None else 'OpenCV cannot decode it'


def count_pages(image: Image.Image) -> int:
    """Count a TIFF's pages, without smaller copies of one; else 1."""
    if image.format != 'TIFF':
        return 1
    count = 0
    for page in range(image.n_frames):
        image.seek(page)
        count += not image.tag_v2.get(SUBFILE_TYPE, 0) & REDUCED
    return count


def unchanged(content: bytes) -> np.ndarray:
    """Pixels as the file has them; one of the highest value if none."""
    pixels = mmcv.imfrombytes(content, flag='unchanged')
    return np.full(1, TWELVE_BITS) if pixels is None else pixels


def check_image(path: str) -> ImageCheck:
    """Decode one image and hash its pixels.

    Args:
        path (str): Image file.

    Returns:
        ImageCheck: Its size and hash, or the reason why it is unreadable.
    """
    pixels, error = decode_image(path)
    if pixels is None:
        return ImageCheck(error=error)
    digest = hashlib.blake2b(repr(pixels.shape).encode(), digest_size=16)
    digest.update(pixels.tobytes())
    return ImageCheck(pixels.shape[1], pixels.shape[0], digest.hexdigest())


def image_size(path: str) -> Tuple[int, int]:
    """Read an image's size from its header, without decoding it.

    Args:
        path (str): Image file.

    Returns:
        tuple[int, int]: Width and height in pixels, EXIF rotation applied.

    Raises:
        DatasetError: If there is no such image or its header is damaged.
    """
    try:
        with Image.open(path) as image:
            width, height = image.size
            turned = image.getexif().get(EXIF_ORIENTATION) in TRANSPOSED
            # versions of Pillow differ in whether a TIFF's size is turned
            known = not (turned and image.format == 'TIFF')
    except Image.DecompressionBombError:
        known = False
    except (OSError, SyntaxError, ValueError) as error:
        raise DatasetError(
            f'{path} cannot be read as an image ({error}): restore it, or '
            'set verify_images=True, which skips and counts such images'
        ) from None
    if not known:
        pixels, reason = decode_image(path)
        if pixels is None:
            raise DatasetError(f'{path}: {reason}: restore it')
        return pixels.shape[1], pixels.shape[0]
    return (height, width) if turned else (width, height)


def _cache_file(folder: str, cache_dir: str) -> str:
    key = hashlib.sha256(os.fsencode(osp.realpath(folder))).hexdigest()[:24]
    return osp.join(cache_dir, f'{key}.json')


def _read_cache(path: str) -> Dict[str, list]:
    try:
        with open(path, encoding='utf-8') as file:
            stored = json.load(file)
        if stored.get('version') == CACHE_VERSION:
            return stored['images']
    except (OSError, ValueError, AttributeError, KeyError):
        pass  # no cache, or not ours: the images are simply decoded again
    return {}


def _write_cache(path: str, images: Dict[str, list]) -> None:
    """Write atomically: other processes may read or write the same file."""
    try:
        os.makedirs(osp.dirname(path), exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=osp.dirname(path))
        try:
            with open(handle, 'w', encoding='utf-8') as file:
                json.dump({'version': CACHE_VERSION, 'images': images}, file)
            os.replace(temporary, path)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError:
        pass  # a read-only home costs the next start a few seconds, no more


def check_images(
    paths: Iterable[str], cache_dir: Optional[str] = None
) -> Dict[str, ImageCheck]:
    """Check many images in threads, with a progress bar after two seconds.

    Args:
        paths (Iterable[str]): Existing image files.
        cache_dir (str, optional): Where results are kept. Defaults to
            :func:`cache_folder`.

    Returns:
        dict[str, ImageCheck]: The check of each path.
    """
    cache_dir = cache_dir or str(cache_folder('image_checks'))
    by_folder: Dict[str, List[str]] = defaultdict(list)
    for path in dict.fromkeys(paths):
        by_folder[osp.dirname(path)].append(path)

    results: Dict[str, ImageCheck] = {}
    stamps: Dict[str, list] = {}
    caches: Dict[str, Dict[str, list]] = {}
    todo: List[str] = []
    for folder, members in by_folder.items():
        cached = caches[folder] = _read_cache(_cache_file(folder, cache_dir))
        for path in members:
            stat = os.stat(path)
            stamps[path] = [stat.st_size, stat.st_mtime_ns]
            entry = cached.get(osp.basename(path))
            if entry is not None and entry[:2] == stamps[path]:
                results[path] = ImageCheck(*entry[2:])
            else:
                todo.append(path)
    if not todo:
        return results

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        checks = tqdm(
            pool.map(check_image, todo),
            desc='Checking images',
            total=len(todo),
            unit='img',
            delay=2,
            disable=not is_main_process(),
        )
        results.update(zip(todo, checks))
    changed = {osp.dirname(path) for path in todo}
    for path in todo:
        caches[osp.dirname(path)][osp.basename(path)] = [
            *stamps[path],
            *results[path],
        ]
    for folder in changed:
        _write_cache(_cache_file(folder, cache_dir), caches[folder])
    return results


def keep_readable(data_list: List[dict]) -> Tuple[List[dict], List[Issue]]:
    """Drop the images that do not decode and correct wrong sizes.

    Args:
        data_list (list[dict]): Data infos with ``img_path``; ``width`` and
            ``height`` are compared where given, and set.

    Returns:
        tuple[list[dict], list[Issue]]: The readable ones and what was found.
    """
    issues: List[Issue] = []
    present = []
    for info in data_list:
        path = info['img_path']
        if osp.isfile(path):
            present.append(info)
        else:
            issues.append(
                Issue(
                    'missing_image',
                    path,
                    f'{path} does not exist: restore the image or remove it '
                    'from the annotations',
                )
            )
    checks = check_images(info['img_path'] for info in present)
    kept = []
    for info in present:
        path, check = info['img_path'], checks[info['img_path']]
        if check.error:
            issues.append(
                Issue(
                    'corrupt_image',
                    path,
                    f'{path} cannot be decoded ({check.error}): download or '
                    'export the image again',
                )
            )
            continue
        claimed = (info.get('width'), info.get('height'))
        actual = (check.width, check.height)
        if claimed != (None, None) and claimed != actual:
            issues.append(size_mismatch(path, claimed, actual))
        info.update(width=check.width, height=check.height)
        kept.append(info)
    return kept, issues


def size_mismatch(
    path: str, claimed: Tuple[int, int], actual: Tuple[int, int]
) -> Issue:
    """Describe an image that is not of the size its annotation says."""
    return Issue(
        'size_mismatch',
        path,
        f'{path} is {actual[0]}x{actual[1]} pixels, but its annotation says '
        f'{claimed[0]}x{claimed[1]}: annotate the image at its present size',
    )
