from typing import List, Optional, Sequence

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ..errors import InputError


@HOOKS.register_module()
class BiasWarmupHook(Hook):
    """Start the biases with a large learning rate, as YOLOv5 to v9 do.

    For ``num_iters`` steps the rate of all biases falls from ``start_lr`` to
    the scheduled one, while the others' rises. The biases of a detection head
    start where 640 px images with few objects have them: at 224 px, ln 8 too
    low. An Adam step moves a parameter by about its learning rate, so at 1e-3
    the way takes thousands of steps; at 0.1 it takes tens
    (docs/training.md).

    It needs :class:`GroupedOptimWrapperConstructor`, which keeps the biases
    apart.

    Args:
        start_lr (float): Learning rate of the first step. Defaults to 0.1,
            ``warmup_bias_lr`` of YOLOv9.
        num_iters (int): Steps until the scheduled rate is reached. Defaults
            to 100, the least of YOLOv9.
    """

    def __init__(self, start_lr: float = 0.1, num_iters: int = 100) -> None:
        self.start_lr = start_lr
        self.num_iters = num_iters
        self.scheduled: List[float] = []

    def _groups(self, runner: Runner) -> List[dict]:
        groups = runner.optim_wrapper.optimizer.param_groups
        return [group for group in groups if group.get('is_bias')]

    def before_train(self, runner: Runner) -> None:
        """Raise if no group of biases can be told from the others.

        Args:
            runner (Runner): The runner, with its optimizer.

        Raises:
            InputError: If the optimizer was built by another constructor.
        """
        if not self._groups(runner):
            raise InputError(
                'BiasWarmupHook finds no group of biases: set '
                "optim_wrapper.constructor='GroupedOptimWrapperConstructor'"
            )

    def before_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Optional[Sequence[dict]] = None,
    ) -> None:
        """Set the biases' rate for one step.

        Args:
            runner (Runner): The runner; ``runner.iter`` steps are done.
            batch_idx (int): Unused.
            data_batch (Sequence[dict], optional): Unused.
        """
        done = runner.iter / self.num_iters
        if done >= 1:
            return
        groups = self._groups(runner)
        self.scheduled = [group['lr'] for group in groups]
        for group in groups:
            group['lr'] = self.start_lr * (1 - done) + group['lr'] * done

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Optional[Sequence[dict]] = None,
        outputs: Optional[dict] = None,
    ) -> None:
        """Give the schedulers, which multiply it, their own rate back.

        Args:
            runner (Runner): The runner.
            batch_idx (int): Unused.
            data_batch (Sequence[dict], optional): Unused.
            outputs (dict, optional): Unused.
        """
        for group, rate in zip(self._groups(runner), self.scheduled):
            group['lr'] = rate
        self.scheduled = []
