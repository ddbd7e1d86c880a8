from torch.utils.data import Dataset


def real_images(dataset: Dataset) -> Dataset:
    """Leave out the synthetic images that :class:`DiffusionAugment` adds.

    Args:
        dataset (Dataset): Of any kind.

    Returns:
        Dataset: The one it wraps; another one as it is.
    """
    return getattr(dataset, 'real_dataset', dataset)
