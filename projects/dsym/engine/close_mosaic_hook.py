from typing import Any, Dict, Iterator, List, Union

from mmcv.transforms import Compose
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
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


def innermost(dataset: Dataset) -> Iterator[Dataset]:
    """The data sets that have pipelines: wrappers, or what is below them.

    Args:
        dataset (Dataset): A data set or a wrapper of one or several.

    Yields:
        Dataset: One that has a pipeline.
    """
    if hasattr(dataset, 'pipeline'):
        yield dataset
        return
    for part in getattr(dataset, 'datasets', None) or [dataset.dataset]:
        yield from innermost(part)


@HOOKS.register_module()
class CloseMosaicHook(Hook):
    """Switch to a pipeline without mosaic for the last epochs.

    mmdet's ``PipelineSwitchHook`` counts from the first epoch, so that another
    ``train_cfg.max_epochs`` would need another number here as well, and sets
    the pipeline of a ``ConcatDataset``, which has none. This one counts from
    the last and reaches the data sets inside; in a :class:`MeanTeacherLoop`
    those of the labelled loaders.

    Args:
        num_last_epochs (int or float): Epochs with the other pipeline; a
            number below 1 is their share of all epochs.
        switch_pipeline (list[dict]): The other pipeline.
    """

    def __init__(
        self,
        num_last_epochs: Union[int, float],
        switch_pipeline: List[Dict[str, Any]],
    ) -> None:
        self.num_last_epochs = num_last_epochs
        self.switch_pipeline = switch_pipeline
        self.switched = False

    def before_train(self, runner: Runner) -> None:
        """Look whether there are so many epochs.

        Args:
            runner (Runner): The runner, with its number of epochs.

        Raises:
            InputError: If the training has fewer epochs.
        """
        if self.num_last_epochs > runner.max_epochs:
            raise InputError(
                f'CloseMosaicHook: num_last_epochs={self.num_last_epochs} is '
                f'more than train_cfg.max_epochs={runner.max_epochs}: lower it'
            )

    def before_train_epoch(self, runner: Runner) -> None:
        """Switch the pipelines when it is time.

        Args:
            runner (Runner): The runner.
        """
        # StopAfterMinutesHook may have lowered their number
        epochs = runner.max_epochs
        last = count_last_epochs(self.num_last_epochs, epochs)
        if self.switched or runner.epoch < epochs - last:
            return
        self.switched = True
        runner.logger.info('Mosaic is off from now on')
        loop = runner.train_loop
        for loader in getattr(loop, 'labeled', [loop.dataloader]):
            for dataset in innermost(loader.dataset):
                dataset.pipeline = Compose(self.switch_pipeline)
            # persistent workers have the old one: the next pass makes others
            loader._iterator = None
        if hasattr(loop, 'restart_labeled'):
            loop.restart_labeled()
