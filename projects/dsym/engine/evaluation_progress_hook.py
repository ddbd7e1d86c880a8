import time
from datetime import timedelta

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner


@HOOKS.register_module()
class EvaluationProgressHook(Hook):
    """Say how far a validation or test is, by seconds instead of batches.

    ``LoggerHook`` speaks every so many batches: the few large ones of a small
    data set may pass without a word, in whatever time they take.

    Args:
        interval (float): Seconds between two lines. Defaults to 5.
    """

    priority = 'VERY_LOW'

    def __init__(self, interval: float = 5.0) -> None:
        self.interval = interval
        self.began = self.spoke = self.last = 0.0

    def before_val_epoch(self, runner: Runner) -> None:
        """Start the clock."""
        self.began = self.spoke = self.last = time.monotonic()

    def before_test_epoch(self, runner: Runner) -> None:
        """Start the clock."""
        self.began = self.spoke = self.last = time.monotonic()

    def after_val_iter(
        self, runner: Runner, batch_idx: int, *args, **kwargs
    ) -> None:
        """Log batches and remaining time, if it is time to."""
        self.speak(runner, 'val', batch_idx + 1, len(runner.val_dataloader))

    def after_test_iter(
        self, runner: Runner, batch_idx: int, *args, **kwargs
    ) -> None:
        """Log batches and remaining time, if it is time to."""
        self.speak(runner, 'test', batch_idx + 1, len(runner.test_dataloader))

    def speak(self, runner: Runner, mode: str, done: int, total: int) -> None:
        """Log a line unless the last one is younger than the interval.

        Args:
            runner (Runner): Whose logger is taken.
            mode (str): 'val' or 'test'.
            done (int): Batches that are done.
            total (int): All batches.
        """
        now = time.monotonic()
        if done == 1:
            # TeacherStudentValLoop walks the loader twice in one epoch
            self.began = self.last
        self.last = now
        if now - self.spoke < self.interval or not is_main_process():
            return
        self.spoke = now
        left = (now - self.began) / done * (total - done)
        runner.logger.info(
            f'Epoch({mode}) [{done}/{total}] '
            f'eta: {timedelta(seconds=round(left))}'
        )
