"""Drawing unlabelled images from lists of any length, as a contender."""

import argparse
import itertools
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, Iterator

from dsym.datasets import PermutedSampler, StreamedImageDataset

from .alternation import Gate
from .comparison import compare

COUNTS = 1_000, 10_000, 100_000, 1_000_000
DRAWN = 1_000  # samples a step


@dataclass(frozen=True)
class Draw:
    """Ask for samples in random order, without decoding an image.

    What a loader's worker does before its pipeline: the sampler computes an
    index, and the list on disk gives the path.

    Attributes:
        count (int): Listed images.
    """

    count: int

    def __str__(self) -> str:
        return f'{self.count:,} listed images'

    def __call__(self, gate: Gate) -> None:
        """Draw ``DRAWN`` samples a step until the gate says stop."""
        with tempfile.TemporaryDirectory() as folder:
            list_file = Path(folder) / 'list.txt'
            with list_file.open('w') as out:
                for i in range(self.count):
                    out.write(f'/a/folder/of/many/images/{i:09d}.png\n')
            data = StreamedImageDataset(
                ann_file=str(list_file), cache_dir=folder
            )
            indices = passes(PermutedSampler(data, seed=0))
            while True:
                for index in itertools.islice(indices, DRAWN):
                    data.get_data_info(index)
                gate()


def passes(sampler: PermutedSampler) -> Iterator[int]:
    """Indices of one pass after the other, without end."""
    for epoch in itertools.count():
        sampler.set_epoch(epoch)
        yield from sampler


def paths(args: argparse.Namespace) -> Dict[str, Any]:
    """Time samples of short and long lists.

    Returns:
        dict: Rows of :func:`compare` with ``microseconds`` a sample, the
        median over the rounds.
    """
    draws = [Draw(count) for count in COUNTS]
    rows = compare(
        f'{DRAWN} samples of a list',
        {str(draw): draw for draw in draws},
        DRAWN,
        args,
    )
    for draw in draws:
        row = rows[str(draw)]
        row['microseconds'] = 1e6 * statistics.median(row['seconds']) / DRAWN
        print(f'{draw!s:32s} {row["microseconds"]:6.1f} us a sample')
    return rows
