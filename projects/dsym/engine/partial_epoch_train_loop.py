from mmengine.registry import LOOPS
from mmengine.runner import EpochBasedTrainLoop


@LOOPS.register_module()
class PartialEpochTrainLoop(EpochBasedTrainLoop):
    """mmengine's loop of epochs whose last one may end early.

    mmengine's own goes through the whole loader whatever ``max_iters`` says.
    Here the epoch ends after that step, as any other: a checkpoint is saved
    and the model is validated. ``StopAfterMinutesHook`` lowers ``max_iters``.

    Args:
        runner (Runner): The runner.
        dataloader (DataLoader or dict): Training images.
        max_epochs (int): Epochs.
        **kwargs: As in :class:`EpochBasedTrainLoop`: ``val_interval``, ...
    """

    def run_epoch(self) -> None:
        """Train one epoch, or what is left to ``max_iters``."""
        self.runner.call_hook('before_train_epoch')
        self.runner.model.train()
        for idx, data_batch in enumerate(self.dataloader):
            self.run_iter(idx, data_batch)
            if self._iter >= self._max_iters:
                break
        self.runner.call_hook('after_train_epoch')
        self._epoch += 1
