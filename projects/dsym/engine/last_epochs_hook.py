from typing import Union

from mmengine.hooks import Hook
from mmengine.runner import IterBasedTrainLoop, Runner
from torch.utils.data import Dataset

from ..errors import InputError


def count_last_epochs(num_last: Union[int, float], max_epochs: int) -> int:
    """Count the epochs that a number or, below 1, a share of them means.

    Args:
        num_last (int or float): Number or share.
        max_epochs (int): All epochs.

    Returns:
        int: How many epochs.
    """
    return round(num_last * max_epochs) if num_last < 1 else int(num_last)


class LastEpochsHook(Hook):
    """Changes the training's data sets for the last epochs.

    mmdet's ``PipelineSwitchHook`` counts from the first epoch, so that another
    ``train_cfg.max_epochs`` would need another number here as well. This one
    counts from the last; in a :class:`MeanTeacherLoop` it changes the data
    sets of the labelled loaders.

    Args:
        num_last_epochs (int or float): Epochs with the change; a number below
            1 is their share of all epochs.

    Attributes:
        news (str): What the log says of it.
    """

    news: str

    def __init__(self, num_last_epochs: Union[int, float]) -> None:
        self.num_last_epochs = num_last_epochs
        self.switched = False

    def change(self, dataset: Dataset) -> None:
        """Change the data set of a loader, or what is in it."""
        raise NotImplementedError

    def before_train(self, runner: Runner) -> None:
        """Look whether there are so many epochs.

        Args:
            runner (Runner): The runner, with its number of epochs.

        Raises:
            InputError: If the training has fewer epochs, or counts none.
        """
        if isinstance(runner.train_loop, IterBasedTrainLoop):
            raise InputError(
                f'{type(self).__name__} counts epochs, and '
                'IterBasedTrainLoop has none: take EpochBasedTrainLoop, or '
                'leave the hook out'
            )
        if self.num_last_epochs > runner.max_epochs:
            raise InputError(
                f'{type(self).__name__}: num_last_epochs='
                f'{self.num_last_epochs} is more than train_cfg.max_epochs='
                f'{runner.max_epochs}: lower it'
            )

    def before_train_epoch(self, runner: Runner) -> None:
        """Change the data sets when it is time.

        Args:
            runner (Runner): The runner.
        """
        # StopAfterMinutesHook may have lowered their number
        epochs = runner.max_epochs
        last = count_last_epochs(self.num_last_epochs, epochs)
        if self.switched or runner.epoch < epochs - last:
            return
        self.switched = True
        runner.logger.info(self.news)
        loop = runner.train_loop
        for loader in getattr(loop, 'labeled', [loop.dataloader]):
            self.change(loader.dataset)
            # persistent workers have the old one: the next pass makes others
            loader._iterator = None
        if hasattr(loop, 'restart_labeled'):
            loop.restart_labeled()
