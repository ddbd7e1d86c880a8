from typing import Iterator

from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch.utils.data import Dataset

from ..errors import InputError
from .last_epochs_hook import LastEpochsHook


def augments(dataset: Dataset) -> Iterator[Dataset]:
    """Find the data sets with synthetic images in a wrapper of any kind.

    Args:
        dataset (Dataset): A data set or a wrapper of one or several.

    Yields:
        Dataset: Each ``DiffusionAugment``.
    """
    if hasattr(dataset, 'close_synthetic'):
        yield dataset
        return
    inside = getattr(dataset, 'dataset', None)
    for part in getattr(
        dataset, 'datasets', [] if inside is None else [inside]
    ):
        yield from augments(part)


@HOOKS.register_module()
class CloseSyntheticHook(LastEpochsHook):
    """Train on real images alone in the last epochs.

    An epoch keeps its steps: :meth:`DiffusionAugment.close_synthetic`. What it
    is worth on NEU-DET is in configs/diffusion/README.md: so far nothing.

    Args:
        num_last_epochs (int or float): Epochs without synthetic images; a
            number below 1 is their share of all epochs.
    """

    news = 'Real images alone from now on'

    def before_train(self, runner: Runner) -> None:
        """Look whether there are so many epochs, and synthetic images.

        Args:
            runner (Runner): The runner.

        Raises:
            InputError: If the training has fewer epochs or no
                ``DiffusionAugment``.
        """
        super().before_train(runner)
        loop = runner.train_loop
        loaders = getattr(loop, 'labeled', [loop.dataloader])
        if not any(x for loader in loaders for x in augments(loader.dataset)):
            raise InputError(
                'CloseSyntheticHook: train_dataloader has no DiffusionAugment:'
                ' wrap its data set in one (docs/diffusion.md), or leave the '
                'hook out'
            )

    def change(self, dataset: Dataset) -> None:
        """Leave out synthetic images."""
        for part in augments(dataset):
            part.close_synthetic()
