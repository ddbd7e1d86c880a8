from typing import Any, Dict, List

from mmdet.engine.hooks import PipelineSwitchHook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ..errors import InputError


@HOOKS.register_module()
class CloseMosaicHook(PipelineSwitchHook):
    """Switch to a pipeline without mosaic for the last epochs.

    mmdet's ``PipelineSwitchHook`` counts from the first epoch, so that another
    ``train_cfg.max_epochs`` would need another number here as well; this one
    counts from the last.

    Args:
        num_last_epochs (int): Epochs with the other pipeline.
        switch_pipeline (list[dict]): The other pipeline.
    """

    def __init__(
        self, num_last_epochs: int, switch_pipeline: List[Dict[str, Any]]
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
        self.switch_epoch = runner.max_epochs - self.num_last_epochs
        if self.switch_epoch < 0:
            raise InputError(
                f'CloseMosaicHook: num_last_epochs={self.num_last_epochs} is '
                f'more than train_cfg.max_epochs={runner.max_epochs}: lower it'
            )
