import copy
from typing import Any, List

from mmengine.config import Config
from mmengine.dataset import ClassBalancedDataset, RepeatDataset
from mmengine.registry import DATASETS
from torch.utils.data import ConcatDataset, Dataset

from ..errors import InputError


def real_images(dataset: Dataset) -> Dataset:
    """Real images, each once: what is measured on a labelled set counts so.

    The synthetic images that :class:`DiffusionAugment` adds are left out, and
    so are the copies of mmengine's ``RepeatDataset`` and
    ``ClassBalancedDataset``, which has more of some classes than of others.

    Args:
        dataset (Dataset): Of any kind, also a wrapper.

    Returns:
        Dataset: The same one if it has neither. Of a ``ConcatDataset`` one
        of the real parts; of another wrapper with such images the data set in
        it.
    """
    if hasattr(dataset, 'real_dataset'):
        return dataset.real_dataset
    if isinstance(dataset, (RepeatDataset, ClassBalancedDataset)):
        return real_images(dataset.dataset)
    if isinstance(dataset, ConcatDataset):
        parts = [real_images(x) for x in dataset.datasets]
        if all(a is b for a, b in zip(parts, dataset.datasets)):
            return dataset
        joined = copy.copy(dataset)
        joined.datasets = parts
        joined.cumulative_sizes = joined.cumsum(parts)
        return joined
    wrapped = getattr(dataset, 'dataset', None)
    found = wrapped if wrapped is None else real_images(wrapped)
    return dataset if found is wrapped else found


def real_datasets(dataset: Dataset) -> List[Dataset]:
    """The data sets that one may join; no synthetic images, as above.

    Args:
        dataset (Dataset): Of any kind, also a wrapper.

    Returns:
        list[Dataset]: The parts of a ``ConcatDataset``, else one.
    """
    real = real_images(dataset)
    return list(real.datasets) if isinstance(real, ConcatDataset) else [real]


def real_part(settings: Any) -> Any:
    """Leave ``DiffusionAugment`` out of a data set, before it paints.

    Args:
        settings (Any): Of a data set, of several, or one that is built.

    Returns:
        Any: The same without synthetic images.
    """
    if isinstance(settings, (list, tuple)):
        return [real_part(x) for x in settings]
    if not isinstance(settings, dict):
        return real_images(settings)
    if settings.get('type') == 'DiffusionAugment':
        return real_part(settings['dataset'])
    wrapped = {
        k: settings[k] for k in ('dataset', 'datasets') if k in settings
    }
    return {**settings, **{k: real_part(x) for k, x in wrapped.items()}}


def labelled_images(config: Config) -> Dataset:
    """Build the labelled images of a config; no synthetic one is painted.

    Args:
        config (Config): With ``train_dataloader``.

    Returns:
        Dataset: The real ones.

    Raises:
        InputError: If the config has none.
    """
    if 'train_dataloader' not in config:
        raise InputError(
            f'{config.filename} has no train_dataloader: give the config of a '
            'detector'
        )
    return DATASETS.build(real_part(config.train_dataloader.dataset))
