from typing import Iterator

from torch.utils.data import Dataset


def nested(dataset: Dataset) -> Iterator[Dataset]:
    """A data set and those that it wraps or joins.

    Args:
        dataset (Dataset): Of any kind.

    Yields:
        Dataset: The outer ones first.
    """
    yield dataset
    inner = getattr(dataset, 'dataset', None)
    for part in getattr(dataset, 'datasets', None) or [inner]:
        if part is not None:
            yield from nested(part)
