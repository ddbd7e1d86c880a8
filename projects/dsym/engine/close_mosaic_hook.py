from typing import Any, Dict, List, Union

from mmdet.engine.hooks import PipelineSwitchHook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

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


@HOOKS.register_module()
class CloseMosaicHook(PipelineSwitchHook):
    """Switch to a pipeline without mosaic for the last epochs.

    mmdet's ``PipelineSwitchHook`` counts from the first epoch, so that another
    ``train_cfg.max_epochs`` would need another number here as well; this one
    counts from the last.

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
        super().__init__(switch_epoch=0, switch_pipeline=switch_pipeline)
        self.num_last_epochs = num_last_epochs

    def before_train(self, runner: Runner) -> None:
        """Find the first epoch without mosaic.

        Args:
            runner (Runner): The runner, with its number of epochs.

        Raises:
            InputError: If the training has fewer epochs.
        """
        self.switch_epoch = runner.max_epochs - count_last_epochs(
            self.num_last_epochs, runner.max_epochs
        )
        if self.switch_epoch < 0:
            raise InputError(
                f'CloseMosaicHook: num_last_epochs={self.num_last_epochs} is '
                f'more than train_cfg.max_epochs={runner.max_epochs}: lower it'
            )
