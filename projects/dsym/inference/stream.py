"""Carry images from a source through a predictor to writers."""

import logging
from dataclasses import dataclass, replace
from typing import Any, Callable, Dict, Iterable, Iterator, List, Optional

from mmengine.logging import print_log
from tqdm import tqdm

from .predictor import Predictor
from .sources import Frame
from .writers import Writer

Done = Callable[[List[Frame], Dict[str, Any]], None]


@dataclass
class Counts:
    """What went through.

    Attributes:
        images (int): Images with results.
        boxes (int): Detections in them.
        unreadable (int): Images that could not be decoded.
        interrupted (bool): Whether a stop was asked for before the end.
    """

    images: int = 0
    boxes: int = 0
    unreadable: int = 0
    interrupted: bool = False


def batches(
    frames: Iterable[Optional[Frame]], size: int
) -> Iterator[List[Frame]]:
    """Collect frames; None, or the end, gives out what there is."""
    batch: List[Frame] = []
    for frame in frames:
        if frame is not None:
            batch.append(frame)
        if batch and (frame is None or len(batch) >= size):
            yield batch
            batch = []
    if batch:
        yield batch


def refuse_long(predictor: Predictor, frame: Frame) -> Frame:
    """Take the image out of a frame that the predictor cannot resize."""
    problem = frame.image is not None and predictor.problem(frame.image)
    return replace(frame, image=None, error=problem) if problem else frame


def run(
    predictor: Predictor,
    frames: Iterable[Optional[Frame]],
    writers: List[Writer],
    batch_size: int,
    total: Optional[int] = None,
    stop: Callable[[], bool] = lambda: False,
    done: Optional[Done] = None,
) -> Counts:
    """Predict until the source ends; one batch is in memory at a time.

    Args:
        predictor (Predictor): The predictor.
        frames (Iterable[Frame or None]): Of a source.
        writers (list[Writer]): They are closed at the end, whatever ends it.
        batch_size (int): Images a batch.
        total (int, optional): Number of frames, for the time that is left.
        stop (callable): Asked before every batch. Defaults to never.
        done (callable, optional): Called with a batch and the writers'
            positions when its results are on the disk.

    Returns:
        Counts: What went through.
    """
    counts = Counts()
    bar = tqdm(total=total, unit='img', desc='Predicting')
    try:
        for batch in batches(frames, batch_size):
            if stop():
                break
            batch = [refuse_long(predictor, x) for x in batch]
            good = [x for x in batch if x.image is not None]
            found = predictor([x.image for x in good]) if good else []
            positions: Dict[str, Any] = {}
            for writer in writers:
                for frame, boxes in zip(good, found):
                    writer.write(frame, boxes)
                positions.update(writer.flush())
            if done is not None:
                done(batch, positions)
            for frame in batch:
                if frame.image is None:
                    counts.unreadable += 1
                    print_log(
                        f'{str(frame.path or frame.name)!r} is skipped '
                        f'({frame.error})',
                        'current',
                        logging.WARNING,
                    )
            counts.images += len(good)
            counts.boxes += sum(map(len, found))
            bar.update(len(batch))
            bar.set_postfix(boxes=counts.boxes)
        counts.interrupted = stop()
    finally:
        bar.close()
        for writer in writers:
            writer.close()
    return counts
