"""SteelSynth on disk: made in parallel, complete or not there at all.

A set lives in a folder named after everything its pixels depend on::

    n240_s0_1f0c9a3e/
      images/000000.png ...
      annotations.json       COCO
      meta.json              generator version, seed, number of images, ...

It is written to a temporary folder and renamed when it is finished, so what a
killed run left never has that name; the next run removes it. A power cut may
still leave files without their content, which the system had not written yet:
a set with such a file is made anew.
"""

import functools
import hashlib
import json
import multiprocessing
import os
import shutil
import sys
import threading
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Iterator, List, Optional, Tuple, Union

import cv2
import numpy as np
from filelock import FileLock, Timeout
from mmengine.logging import print_log
from mmengine.utils import ProgressBar

from .issues import DatasetError
from .neu_det_meta import CLASSES
from .steel_render import render_steel_image
from .steel_textures import IMAGE_SIZE

#: Raised whenever the same seed gives other pixels or boxes than before.
GENERATOR_VERSION = 1
#: Space an image takes on disk, in bytes: the largest class, crazing, comes
#: to 45 to 60 kB, and its annotation to less than 1 kB.
BYTES_PER_IMAGE = 60_000
#: Images that one task of a worker renders.
CHUNK = 8

# OpenCV's own choice of strategy writes files 1.6 times as large, a higher
# compression level takes 1.5 times as long for 12 % less.
PNG_FLAGS = [
    *(cv2.IMWRITE_PNG_COMPRESSION, 1),
    *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_DEFAULT),
]
#: The last chunk of every PNG: no data, its name and their checksum.
PNG_END = b'\0\0\0\0IEND\xae\x42\x60\x82'

Annotation = Tuple[List[int], List[List[int]]]


def steel_synth_settings(num_images: int, seed: int) -> dict:
    """Everything that the pixels and the annotations depend on.

    Args:
        num_images (int): Number of images, at least 1.
        seed (int): Seed of the set, not negative.

    Returns:
        dict: The settings, as ``meta.json`` holds them.

    Raises:
        DatasetError: If an argument is out of its range.
    """
    for name, value, least in (
        ('num_images', num_images, 1),
        ('seed', seed, 0),
    ):
        if not isinstance(value, int) or value < least:
            raise DatasetError(
                f'SteelSynth: {name} must be an integer of at least {least}, '
                f'not {value!r}.'
            )
    return {
        'generator': 'SteelSynth',
        'version': GENERATOR_VERSION,
        'num_images': num_images,
        'seed': seed,
        'image_size': IMAGE_SIZE,
        'classes': list(CLASSES),
    }


def steel_synth_folder(
    data_root: Union[str, Path], num_images: int, seed: int
) -> Path:
    """Folder of one set below the cache folder.

    Args:
        data_root (str | Path): The cache folder.
        num_images (int): Number of images.
        seed (int): Seed of the set.

    Returns:
        Path: ``data_root/n{num_images}_s{seed}_{hash of all settings}``.
    """
    settings = steel_synth_settings(num_images, seed)
    text = json.dumps(settings, sort_keys=True).encode()
    digest = hashlib.sha256(text).hexdigest()[:8]
    return Path(data_root) / f'n{num_images}_s{seed}_{digest}'


def is_complete(folder: Path, num_images: int) -> bool:
    """Whether a finished set still has all of its files, to their ends.

    Args:
        folder (Path): The set's folder, which need not exist.
        num_images (int): Number of images it was made with.

    Returns:
        bool: False if a file is missing, empty or cut off.
    """
    images = list((folder / 'images').glob('*.png'))
    return (
        len(images) == num_images
        and ends_with(folder / 'meta.json', b'}')
        and ends_with(folder / 'annotations.json', b'}')
        and all(ends_with(image, PNG_END) for image in images)
    )


def ends_with(path: Path, end: bytes) -> bool:
    """Whether a file exists and has these last bytes."""
    try:
        with open(path, 'rb') as file:
            file.seek(max(os.fstat(file.fileno()).st_size - len(end), 0))
            return file.read() == end
    except FileNotFoundError:
        return False


def ensure_steel_synth(
    data_root: Union[str, Path],
    num_images: int,
    seed: int = 0,
    num_workers: Optional[int] = None,
) -> Path:
    """Generate a set unless it is already on disk.

    Processes that ask for the same set at the same time wait for the one
    that generates it.

    Args:
        data_root (str | Path): The cache folder; made if need be.
        num_images (int): Number of images. Image i is the same in sets of
            any size.
        seed (int): Seed of the set. Defaults to 0.
        num_workers (int, optional): Number of processes. None means one a
            CPU core. Defaults to None.

    Returns:
        Path: The set's folder.

    Raises:
        DatasetError: If an argument is out of its range, the folder cannot
            be written, or a worker was killed.
    """
    folder = steel_synth_folder(data_root, num_images, seed)
    if is_complete(folder, num_images):
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder.parent / f'.{folder.name}.lock')
        try:
            lock.acquire(timeout=0)
        except Timeout:
            print_log(
                f'Waiting for the process that generates {folder}',
                logger='current',
            )
            lock.acquire()
        try:
            if not is_complete(folder, num_images):
                generate(folder, num_images, seed, num_workers)
        finally:
            lock.release()
    except OSError as error:
        raise DatasetError(
            f'{folder}: SteelSynth cannot be written here '
            f'({error.strerror or error}); choose another data_root.'
        ) from error
    except BrokenProcessPool as error:
        raise DatasetError(
            f'{folder}: a process that renders SteelSynth was killed, perhaps '
            'for want of memory; try a smaller num_workers.'
        ) from error
    return folder


def generate(
    folder: Path, num_images: int, seed: int, num_workers: Optional[int]
) -> None:
    """Render a set into a temporary folder and rename it when it is done.

    Args:
        folder (Path): The set's folder. The caller holds its lock.
        num_images (int): Number of images.
        seed (int): Seed of the set.
        num_workers (int, optional): Number of processes, None for one a core.
    """
    need = num_images * BYTES_PER_IMAGE
    free = shutil.disk_usage(folder.parent).free
    if need > free:
        raise DatasetError(
            f'{folder}: {num_images} images need {need / 2**20:.0f} MB, but '
            f'only {free / 2**20:.0f} MB are free; make room, lower '
            'num_images or choose another data_root.'
        )
    print_log(
        f'Generating {num_images} SteelSynth images in {folder}',
        logger='current',
    )
    if folder.exists():
        print_log(
            f'{folder} lost files or their content: it is made anew',
            logger='current',
        )
        shutil.rmtree(folder)
    unfinished = folder.parent / f'.{folder.name}.tmp'
    if unfinished.exists():
        shutil.rmtree(unfinished)  # of a run that was killed
    (unfinished / 'images').mkdir(parents=True)
    try:
        annotations: List[Annotation] = []
        progress = ProgressBar(num_images, file=sys.stderr)
        for part in render_parallel(
            unfinished / 'images', num_images, seed, num_workers
        ):
            annotations += part
            progress.update(len(part))
        sys.stderr.write('\n')
        coco = to_coco(annotations)
        for name, content in (
            ('annotations.json', coco),
            ('meta.json', steel_synth_settings(num_images, seed)),
        ):
            (unfinished / name).write_text(json.dumps(content))
        unfinished.rename(folder)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise


def render_parallel(
    folder: Path, num_images: int, seed: int, num_workers: Optional[int]
) -> Iterator[List[Annotation]]:
    """Render and write all images, in order, a chunk at a time.

    Args:
        folder (Path): Where the images go.
        num_images (int): Number of images.
        seed (int): Seed of the set.
        num_workers (int, optional): Number of processes, None for one a core.

    Yields:
        list: Annotations of the next images, see :func:`render_chunk`.
    """
    starts = range(0, num_images, CHUNK)
    task = functools.partial(render_chunk, folder, num_images, seed)
    workers = min(num_workers or os.cpu_count() or 1, len(starts))
    if workers == 1:
        yield from map(task, starts)
        return
    # As torch's DataLoader does: a forked worker need not import torch anew.
    methods = multiprocessing.get_all_start_methods()
    context = multiprocessing.get_context(
        'fork' if 'fork' in methods else None
    )
    with ProcessPoolExecutor(
        workers, mp_context=context, initializer=start_worker
    ) as pool:
        try:
            yield from pool.map(task, starts)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def start_worker() -> None:
    """Make a worker use one thread, and end when its parent is killed."""
    cv2.setNumThreads(0)

    def follow_parent() -> None:
        multiprocessing.parent_process().join()
        os._exit(1)

    threading.Thread(target=follow_parent, daemon=True).start()


def render_chunk(
    folder: Path, num_images: int, seed: int, start: int
) -> List[Annotation]:
    """Render and write the images from ``start`` to the end of its chunk.

    Args:
        folder (Path): Where the images go, as ``{index:06d}.png``.
        num_images (int): Number of images of the whole set.
        seed (int): Seed of the set.
        start (int): Index of the chunk's first image.

    Returns:
        list[tuple]: Per image its labels and its (x1, y1, x2, y2) boxes.
    """
    annotations = []
    for index in range(start, min(start + CHUNK, num_images)):
        sample = render_steel_image(seed, index)
        # Three equal channels, as in NEU-DET's files.
        bgr = np.repeat(sample.image[..., None], 3, axis=2)
        png = cv2.imencode('.png', bgr, PNG_FLAGS)[1]
        (folder / f'{index:06d}.png').write_bytes(png.tobytes())
        annotations.append((sample.labels.tolist(), sample.boxes.tolist()))
    return annotations


def to_coco(annotations: List[Annotation]) -> dict:
    """Put the annotations of images 0, 1, ... into COCO's form.

    Args:
        annotations (list[tuple]): Per image its labels, indices into
            :data:`CLASSES`, and its (x1, y1, x2, y2) boxes in px.

    Returns:
        dict: COCO's ``images``, ``annotations`` and ``categories``, whose
        ids are the label + 1.
    """
    images, objects = [], []
    for index, (labels, boxes) in enumerate(annotations):
        images.append(
            {
                'id': index,
                'file_name': f'{index:06d}.png',
                'width': IMAGE_SIZE,
                'height': IMAGE_SIZE,
            }
        )
        for label, (x1, y1, x2, y2) in zip(labels, boxes):
            objects.append(
                {
                    'id': len(objects) + 1,
                    'image_id': index,
                    'category_id': label + 1,
                    'bbox': [x1, y1, x2 - x1, y2 - y1],
                    'area': (x2 - x1) * (y2 - y1),
                    'iscrowd': 0,
                }
            )
    categories = [{'id': i + 1, 'name': c} for i, c in enumerate(CLASSES)]
    return {
        'info': {'description': 'SteelSynth', 'version': GENERATOR_VERSION},
        'licenses': [],
        'images': images,
        'annotations': objects,
        'categories': categories,
    }
