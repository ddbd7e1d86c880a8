"""What makes chunks of synthetic images, in one process or several."""

import functools
import importlib
import json
import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Iterator, List, Optional

import cv2
import numpy as np
import torch
from mmengine.registry import MODELS

from ..datasets.steel_cache import start_worker
from ..engine.cpu_threads_hook import usable_cores
from ..errors import InputError
from .examples import DefectExamples, read_image
from .layout import DefectLayout
from .pretrained import diffusion_settings
from .quality_gate import Candidate, build_gate
from .synthesizer import Synthesizer, Synthetic
from .synthetic_settings import (
    VERSION,
    LabelledSet,
    labels_digest,
    with_digests,
)

CHUNK = 32  # images a chunk: a batch of the painter
LOOKED_AT = 8  # real images, for their colour
GREYISH = 8  # grey values between channels, as JPEG has in grey images


@dataclass
class Recipe:
    """How synthetic images are made.

    Attributes:
        painter (dict): ``DiffusionPainter``, ``PipelinePainter``,
            ``CopyPastePainter`` or a painter of one's own.
        layout (dict): Of :class:`DefectLayout`.
        gate (dict, optional): Of :class:`QualityGate`; None keeps all.
        seed (int): Of all images.
    """

    painter: dict
    layout: dict
    gate: Optional[dict]
    seed: int

    def check(self) -> None:
        """Look for the painter's model, before processes and folders are made.

        Raises:
            InputError: If it is missing or damaged.
        """
        if self.painter.get('type') == 'DiffusionPainter':
            diffusion_settings(self.painter.get('model', ''))

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
        check_colour(painter.channels, labelled)
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


def check_colour(channels: int, labelled: LabelledSet) -> None:
    """Refuse to paint grey images for a set in colour.

    A detector would learn that grey is synthetic.

    Args:
        channels (int): Of the painter.
        labelled (LabelledSet): Real images; the first few are looked at.

    Raises:
        InputError: If the painter is grey and half of them are not.
    """
    if channels != 1:
        return
    count = min(len(labelled), LOOKED_AT)
    paths = [labelled.get_data_info(i)['img_path'] for i in range(count)]
    spreads = [
        np.ptp(read_image(path, 3).astype(int), axis=2).mean()
        for path in paths
    ]
    if np.median(spreads) > GREYISH:
        raise InputError(
            f'painter: it paints grey images and {paths[0]} is in colour: '
            'give CopyPastePainter or PipelinePainter channels=3, or train a '
            'model with image_channels=3'
        )


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
    """Write an image, grey or RGB, whole or not at all.

    A grey file is a third as much to decode; readers repeat its channel.
    """
    png = cv2.imencode('.png', np.ascontiguousarray(image[..., ::-1]))[1]
    temporary = path.with_suffix('.tmp')
    temporary.write_bytes(png.tobytes())
    temporary.replace(path)


_order: tuple = ()  # of a worker: the painter's module, and its workshop


@functools.cache
def _workshop() -> Workshop:
    """The workshop of this process."""
    module, *order = _order
    if module != '__main__':  # of a user's own painter: it registers itself
        importlib.import_module(module)
    return Workshop(*order)


def _start(threads: int, *order) -> None:
    global _order
    start_worker()
    torch.set_num_threads(threads)
    _order = order


def painter_module(recipe: Recipe) -> str:
    """The module that registers a recipe's painter."""
    painter = MODELS.get(recipe.painter.get('type', ''))
    return painter.__module__ if painter else __name__


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
        initargs=(
            max(1, usable_cores() // workers),
            painter_module(recipe),
            recipe,
            labelled,
            folder,
        ),
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
