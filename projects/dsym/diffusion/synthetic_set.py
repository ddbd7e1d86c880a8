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

import functools
import json
import logging
import os
import time
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Iterator, List, Optional

import cv2
import numpy as np
import torch
from filelock import FileLock
from mmengine.logging import print_log
from mmengine.registry import MODELS
from tqdm import tqdm

from ..datasets.issues import DatasetError
from ..datasets.steel_cache import start_worker
from ..engine.cpu_threads_hook import usable_cores
from ..errors import InputError
from .examples import DefectExamples
from .layout import DefectLayout
from .quality_gate import Candidate, build_gate
from .synthesizer import Synthesizer, Synthetic
from .synthetic_coco import to_coco
from .synthetic_settings import (
    VERSION,
    LabelledSet,
    digest,
    labels_digest,
    with_digests,
)
from .tally import Tally, note_seconds

CHUNK = 32  # images a chunk: a batch of the painter
FEW = 0.02  # share of kept images below which going on is of no use


@dataclass
class Recipe:
    """How synthetic images are made.

    Attributes:
        painter (dict): ``DiffusionPainter``, ``PipelinePainter`` or
            ``CopyPastePainter``.
        layout (dict): Of :class:`DefectLayout`.
        gate (dict, optional): Of :class:`QualityGate`; None keeps all.
        seed (int): Of all images.
    """

    painter: dict
    layout: dict
    gate: Optional[dict]
    seed: int

    def settings(self, labelled: LabelledSet) -> dict:
        """All that the images depend on."""
        return dict(
            with_digests(asdict(self)),
            version=VERSION,
            labels=labels_digest(labelled),
        )


class Workshop:
    """Makes chunks; each process has one.

    Args:
        recipe (Recipe): How.
        labelled (LabelledSet): Real images.
        folder (Path): Of the set.
    """

    def __init__(
        self, recipe: Recipe, labelled: LabelledSet, folder: Path
    ) -> None:
        classes = labelled.metainfo['classes']
        options = dict(recipe.painter)
        examples = DefectExamples(labelled)
        try:
            painter = MODELS.build(
                dict(options, classes=classes, examples=examples)
            )
            layout = DefectLayout(labelled, **recipe.layout)
        except (TypeError, KeyError) as error:
            raise InputError(f'DiffusionAugment: {error}') from error
        self.synthesize = Synthesizer(layout, painter, recipe.seed)
        self.gate = build_gate(recipe.gate, classes, labelled)
        self.folder = folder

    def make_chunk(self, chunk: int) -> List[dict]:
        """Make, judge and write the images of a chunk.

        Args:
            chunk (int): Which one.

        Returns:
            list[dict]: Their records, as ``chunks/*.json`` holds them.
        """
        numbers = range(chunk * CHUNK, (chunk + 1) * CHUNK)
        made = self.synthesize(numbers)
        candidates = []
        for x in made:
            image = x.image(range(len(x.plan.boxes)), range(len(x.decoys)))
            path = image_path(self.folder / 'refused', x.number)
            write_image(path, image)
            candidates.append(
                Candidate(
                    str(path),
                    image,
                    x.background,
                    x.plan.boxes,
                    x.plan.labels,
                    x.plan.gone,
                    x.plan.decoys,
                )
            )
        verdicts = [[] for _ in made]
        if self.gate is not None:
            verdicts = self.gate(candidates)
        records = []
        for x, rows in zip(made, verdicts):
            count = len(x.plan.boxes)
            kept, decoys = (
                [i for i in range(n) if not part or not part[i].reason]
                for n, part in (
                    (count, rows[:count]),
                    (len(x.decoys), rows[count:]),
                )
            )
            if not kept:  # more decoys than defects would hide defects
                decoys = []
            if kept or x.plan.replaces:
                path = image_path(self.folder / 'images', x.number)
                write_image(path, x.image(kept, decoys))
            if len(kept) == count and len(decoys) == len(x.decoys):
                image_path(self.folder / 'refused', x.number).unlink()
            records.append(record(x, kept, decoys, rows[:count]))
        target = chunk_path(self.folder, chunk)
        temporary = target.with_suffix(f'.{os.getpid()}.tmp')
        temporary.write_text(json.dumps(records))
        temporary.replace(target)
        return records


def record(
    made: Synthetic, kept: List[int], decoys: List[int], verdicts: list
) -> dict:
    """What is written down about an image."""
    plan = made.plan
    # a true defect whose painting was refused is seen as it was
    stays = [i for i in range(len(plan.boxes)) if i not in kept]
    stays = stays if plan.replaces else []
    return dict(
        number=made.number,
        background=plan.path,
        height=plan.shape[0],
        width=plan.shape[1],
        erased=len(plan.gone),
        boxes=plan.boxes.tolist(),
        labels=plan.labels.tolist(),
        real_boxes=[*plan.kept.tolist(), *plan.boxes[stays].tolist()],
        real_labels=[*plan.kept_labels.tolist(), *plan.labels[stays].tolist()],
        real_ignored=plan.kept_ignored.tolist() + [False] * len(stays),
        replaces=plan.replaces,
        kept=kept,
        decoys=plan.decoys[decoys].tolist(),
        verdicts=[x._asdict() for x in verdicts],
    )


def image_path(folder: Path, number: int) -> Path:
    """Where an image is."""
    return folder / f'{number:06d}.png'


def chunk_path(folder: Path, chunk: int) -> Path:
    """Where the records of a chunk are."""
    return folder / 'chunks' / f'{chunk:05d}.json'


def write_image(path: Path, image: np.ndarray) -> None:
    """Write an image with three channels, whole or not at all."""
    bgr = np.repeat(image, 3, 2) if image.shape[2] == 1 else image[..., ::-1]
    png = cv2.imencode('.png', np.ascontiguousarray(bgr))[1]
    temporary = path.with_suffix('.tmp')
    temporary.write_bytes(png.tobytes())
    temporary.replace(path)


_order: tuple = ()  # of a worker's workshop


@functools.cache
def _workshop() -> Workshop:
    """The workshop of this process."""
    return Workshop(*_order)


def _start(threads: int, *order) -> None:
    global _order
    start_worker()
    torch.set_num_threads(threads)
    _order = order


def _make(chunk: int) -> List[dict]:
    # not when the process starts: an error there would not reach the parent
    return _workshop().make_chunk(chunk)


def chunks(
    recipe: Recipe,
    labelled: LabelledSet,
    folder: Path,
    most: int,
    num_workers: Optional[int],
) -> Iterator[List[dict]]:
    """Records of one chunk after the other; those on disk are read.

    Args:
        recipe (Recipe): How.
        labelled (LabelledSet): Real images.
        folder (Path): Of the set.
        most (int): Number of chunks.
        num_workers (int, optional): Processes; None for one a core, 0 for
            this one.

    Yields:
        list[dict]: Of a chunk.
    """
    first = 0
    while first < most and chunk_path(folder, first).is_file():
        yield json.loads(chunk_path(folder, first).read_text())
        first += 1
    rest = range(first, most)
    if not rest:
        return
    workers = usable_cores() if num_workers is None else num_workers
    workers = min(workers, len(rest))
    if workers < 2:
        workshop = Workshop(recipe, labelled, folder)
        yield from map(workshop.make_chunk, rest)
        return
    # a forked process would hang in the threads that torch has started
    with ProcessPoolExecutor(
        workers,
        mp_context=get_context('spawn'),
        initializer=_start,
        initargs=(max(1, usable_cores() // workers), recipe, labelled, folder),
    ) as pool:
        try:
            waiting = [pool.submit(_make, x) for x in rest[: workers + 1]]
            following = iter(rest[workers + 1 :])
            while waiting:
                yield waiting.pop(0).result()
                for x in following:
                    waiting.append(pool.submit(_make, x))
                    break
        finally:
            pool.shutdown(cancel_futures=True)


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
        DatasetError: If the folder cannot be written, a process was killed,
            or the gate refuses too many.
    """
    settings = recipe.settings(labelled)
    folder = Path(cache_dir) / digest([settings])
    target = folder / f'annotations_{count}.json'
    if target.is_file():
        return target
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
