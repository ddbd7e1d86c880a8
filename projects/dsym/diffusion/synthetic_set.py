"""Synthetic images on disk: made once, in parallel, going on after a kill.

A folder is named after everything its pixels depend on::

    0f1e2d3c4b5a6978/
      settings.json         painter, layout, gate, seed, digest of the labels
      images/000007.png     with what is kept, or the real image of a 'replace'
      refused/000003.png    with all of its defects and decoys
      chunks/00000.json     records of 32 images, one after the other
      annotations_324.json  COCO of the first 324 that were kept
      seconds.json          how long each call painted

A chunk's images are written before its JSON: what a killed run left without
one is made anew. A larger number goes on from a smaller one's chunks.
"""

import json
import logging
import os
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import List, Optional

from filelock import FileLock
from mmengine.logging import print_log
from tqdm import tqdm

from ..datasets.issues import DatasetError
from ..errors import InputError
from .synthetic_coco import to_coco
from .synthetic_settings import LabelledSet, digest
from .tally import Tally, note_seconds
from .workshop import CHUNK, Recipe, chunk_path, chunks

FEW = 0.02  # share of kept images below which going on is of no use


def ensure_synthetic(
    recipe: Recipe,
    labelled: LabelledSet,
    count: int,
    cache_dir: Path,
    max_tries: int = 10,
    num_workers: Optional[int] = None,
) -> Path:
    """Make synthetic images unless they are on disk.

    Processes that ask for the same set at the same time wait for the one
    that makes it.

    Args:
        recipe (Recipe): How.
        labelled (LabelledSet): Real images.
        count (int): Images to keep.
        cache_dir (Path): Where sets are.
        max_tries (int): Images made for one that is kept, at most. Defaults
            to 10.
        num_workers (int, optional): Processes; None for one a core, 0 for
            this one. Defaults to None.

    Returns:
        Path: The COCO file; its images are in ``images`` beside it.

    Raises:
        InputError: If the painter's model is missing.
        DatasetError: If the folder cannot be written, images are gone from
            it, a process was killed, or the gate refuses too many.
    """
    settings = recipe.settings(labelled)
    folder = Path(cache_dir) / digest([settings])
    target = folder / f'annotations_{count}.json'
    if target.is_file():
        check_images(target)
        return target
    recipe.check()
    try:
        for name in ('images', 'refused', 'chunks'):
            (folder / name).mkdir(parents=True, exist_ok=True)
        with FileLock(folder / '.lock'):
            if not target.is_file():
                (folder / 'settings.json').write_text(
                    json.dumps(settings, indent=2) + '\n'
                )
                records = collect(
                    recipe, labelled, count, folder, max_tries, num_workers
                )
                coco = to_coco(records, labelled, settings)
                temporary = target.with_suffix('.tmp')
                temporary.write_text(json.dumps(coco))
                temporary.replace(target)
    except OSError as error:
        if isinstance(error, InputError):
            raise
        raise DatasetError(
            f'{folder}: synthetic images cannot be written here '
            f'({error.strerror or error}): choose another cache_dir'
        ) from error
    except BrokenProcessPool as error:
        raise DatasetError(
            f'{folder}: a process that paints was killed, perhaps for want '
            'of memory: try a smaller num_workers; what is done is kept'
        ) from error
    return target


def check_images(ann_file: Path) -> None:
    """Raise :class:`DatasetError` unless all images of a set are there."""
    images = ann_file.with_name('images')
    there = set(os.listdir(images)) if images.is_dir() else set()
    names = [
        x['file_name'] for x in json.loads(ann_file.read_text())['images']
    ]
    gone = [name for name in names if name not in there]
    if gone:
        raise DatasetError(
            f'{images}: {len(gone)} of {len(names)} synthetic images are '
            f'gone, such as {gone[0]}: remove {ann_file.parent} to paint them '
            'anew'
        )


def collect(
    recipe: Recipe,
    labelled: LabelledSet,
    count: int,
    folder: Path,
    max_tries: int,
    num_workers: Optional[int],
) -> List[dict]:
    """Make chunks until enough images are kept, with a progress bar."""
    print_log(f'painting {count} synthetic images in {folder}', 'current')
    # without a gate all are kept: processes begin no chunk in vain
    tries = 1 if recipe.gate is None else max_tries
    most = -(-count * tries // CHUNK)
    kept: List[dict] = []
    painted = 0
    tally = Tally(labelled.metainfo['classes'])
    before = {x.name for x in (folder / 'chunks').glob('*.json')}
    start, new_images = time.perf_counter(), 0
    with tqdm(total=count, desc='synthetic images', unit='img') as bar:
        for chunk, records in enumerate(
            chunks(recipe, labelled, folder, most, num_workers)
        ):
            if chunk_path(folder, chunk).name not in before:
                new_images += len(records)
            tally.add(records)
            # where all is refused that was to replace something, the image is
            # real and labelled: without it, its class would be seen less
            new = [x for x in records if x['kept'] or x['replaces']]
            bar.update(min(len(new), count - len(kept)))
            kept += new
            painted += sum(bool(x['kept']) for x in records)
            made = tally.images
            hopeless = made >= 8 * CHUNK and painted < FEW * made
            if len(kept) >= count or hopeless:
                break
    if new_images:
        note_seconds(folder, new_images, time.perf_counter() - start)
    if len(kept) < count or not painted:
        raise DatasetError(
            f'{folder}: the gate kept {painted} of {tally.images} synthetic '
            f'images, {count} are wanted ({tally.by_reason()}): relax the '
            f'gate, look at {folder / "refused"}, train the painter longer, '
            f'or raise max_tries={max_tries}'
        )
    reasons = tally.by_reason()
    print_log(
        f'{tally.images} images painted, {painted} of them with a defect that '
        f'was kept{f"; defects: {reasons}" if reasons else ""}; kept by '
        f'class: {tally.by_class()}',
        'current',
    )
    for name in tally.lost():
        print_log(
            f'the gate kept no {name}: the set has no painted one. Look at '
            f'{folder / "refused"}; relax the gate or train the painter '
            'longer',
            'current',
            logging.WARNING,
        )
    return kept[:count]
