from typing import Any

from mmengine.runner import Runner

from ..errors import InputError


def labelled_of(runner: Runner) -> Any:
    """The data set of the first labelled loader of a training.

    Args:
        runner (Runner): With the loop of the training.

    Returns:
        BaseDataset: Or what else is loaded from.
    """
    loop = runner.train_loop
    return getattr(loop, 'labeled', [loop.dataloader])[0].dataset


def check_same_classes(name: str, dataset: Any, labeled: Any) -> None:
    """Refuse a data set whose labels mean other classes than the labelled.

    Args:
        name (str): Where a config names the data set.
        dataset (BaseDataset): It.
        labeled (BaseDataset): The first labelled one.

    Raises:
        InputError: If the labelled one tells its classes, and the other's
            differ by name or order.
    """
    found, wanted = (
        tuple(getattr(x, 'metainfo', {}).get('classes') or ())
        for x in (dataset, labeled)
    )
    if wanted and found != wanted:
        raise InputError(
            f'{name} has the classes {", ".join(found)}, train_dataloader '
            f'{", ".join(wanted)}: give metainfo the same classes in the same '
            'order'
        )
