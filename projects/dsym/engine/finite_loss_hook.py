import math
from typing import Any, Optional

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import Tensor

from ..errors import InputError

REMEDY = (
    'lower optim_wrapper.optimizer.lr or bound gradients by '
    'optim_wrapper.clip_grad'
)


@HOOKS.register_module()
class FiniteLossHook(Hook):
    """End a training with one line when its loss is no number any more.

    Such a step writes NaN into every weight, and neither loops nor metrics
    say so: the training goes on to its last epoch and every later checkpoint
    is lost. ``mmdet.CheckInvalidLossHook`` looks every 50 steps and leaves a
    traceback. MMEngine reads the losses off the device after every step in
    any case, so that looking at each of them costs nothing.

    Args:
        patience (int): Where a loss scaler passes over such steps
            (``AmpOptimWrapper``), so many in a row are too many. Defaults
            to 10.
    """

    # before checkpoints and logs
    priority = 'NORMAL'

    def __init__(self, patience: int = 10) -> None:
        self.patience = patience
        self.in_a_row = 0

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Optional[dict] = None,
    ) -> None:
        """Look at the sum of the losses.

        Args:
            runner (Runner): The runner.
            batch_idx (int): Not used.
            data_batch (Any): Not used.
            outputs (dict, optional): Losses by name, ``loss`` is their sum.

        Raises:
            InputError: If it is infinite or NaN.
        """
        losses = {
            name: value.item() if isinstance(value, Tensor) else value
            for name, value in (outputs or {}).items()
            if 'loss' in name
        }
        if math.isfinite(losses.get('loss', 0.0)):
            self.in_a_row = 0
            return
        self.in_a_row += 1
        scaled = hasattr(runner.optim_wrapper, 'loss_scaler')
        if scaled and self.in_a_row < self.patience:
            return
        parts = ', '.join(
            f'{name} {value}'
            for name, value in losses.items()
            if not math.isfinite(value)
        )
        raise InputError(
            f'FiniteLossHook: step {runner.iter + 1} of '
            f'{runner.max_iters}: {parts}: {REMEDY}'
        )

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Look at the weights.

        The gradient of a finite loss may be none, and another rank's loss may
        have been.

        Args:
            runner (Runner): Not used.
            checkpoint (dict): What is to be saved.

        Raises:
            InputError: If one is NaN.
        """
        for name, value in checkpoint['state_dict'].items():
            if isinstance(value, Tensor) and value.isnan().any():
                raise InputError(
                    f'FiniteLossHook: {name} is NaN, and the checkpoint is '
                    f'not saved: {REMEDY}'
                )
