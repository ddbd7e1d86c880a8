import math
import time
from typing import Any, Callable, List, Optional

from mmengine.dist import broadcast_object_list
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import IterBasedTrainLoop, Runner

from ..errors import InputError
from .minutes_budget import MinutesBudget
from .partial_epoch_train_loop import PartialEpochTrainLoop

STATE = 'minutes_budget'  # in a checkpoint


@HOOKS.register_module()
class StopAfterMinutesHook(Hook):
    """End a training when its steps have taken so many minutes.

    For methods that cannot be trained to the end of their schedule but are to
    be compared: each gets the same minutes. The step in which the budget is
    spent is the last; its checkpoint is saved and validated as that of a
    whole training.

    The whole schedule fits into the budget: after a share of the minutes the
    learning rates have come to the same share of their steps, so warm-ups are
    shorter and the rate ends where it would have ended. What counts from the
    last epoch, such as ``CloseMosaicHook``, is told how many epochs are
    expected after every step. A training that is faster than its budget
    follows its schedule step by step and ends with it.

    The minutes are kept in checkpoints: a resumed run goes on with those of
    the weights that it loaded.

    Args:
        minutes (float): Minutes of training steps, loader included.
        clock (Callable): Seconds of a clock that never goes back. Defaults
            to :func:`time.monotonic`.
    """

    # before ParamSchedulerHook and CheckpointHook, after BiasWarmupHook has
    # given the biases' rates back
    priority = 'BELOW_NORMAL'

    def __init__(
        self, minutes: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.budget = MinutesBudget(minutes, clock=clock)
        self.steps_ahead = 0  # of the schedulers, before the training's
        self.planned_steps = self.planned_epochs = 0
        self.loads_again = False

    def before_train(self, runner: Runner) -> None:
        """Note the plan, and end at once if a resumed run has spent it all.

        Args:
            runner (Runner): The runner.

        Raises:
            InputError: If the loop cannot end after any step, or a schedule
                counts epochs.
        """
        loop = runner.train_loop
        if not isinstance(loop, (PartialEpochTrainLoop, IterBasedTrainLoop)):
            raise InputError(
                f'StopAfterMinutesHook: {type(loop).__name__} does not end '
                "before its last step: set train_cfg.type='Partial"
                "EpochTrainLoop' or 'IterBasedTrainLoop'"
            )
        if any(scheduler.by_epoch for scheduler in schedulers_of(runner)):
            raise InputError(
                'StopAfterMinutesHook: a schedule counts epochs: set '
                'convert_to_iter_based=True in param_scheduler'
            )
        self.planned_steps = loop.max_iters
        self.planned_epochs = loop.max_epochs
        self.expect_end(loop, loop.iter, 0)
        # IterBasedTrainLoop.run loads, and throws away, the batches of all
        # steps that a resumed run has behind it, inside its only epoch
        self.loads_again = (
            isinstance(loop, IterBasedTrainLoop) and loop.iter > 0
        )

    def before_train_epoch(self, runner: Runner) -> None:
        """Start the clock.

        Args:
            runner (Runner): Not used.
        """
        self.budget.start()

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None
    ) -> None:
        """Leave out the batches that a resumed run loads again.

        Args:
            runner (Runner): Not used.
            batch_idx (int): Not used.
            data_batch (Any): Not used.
        """
        if self.loads_again:
            self.budget.start()
            self.loads_again = False

    def after_val(self, runner: Runner) -> None:
        """Leave out the time of an evaluation between two steps.

        Args:
            runner (Runner): Not used.
        """
        self.budget.start()

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Any = None,
        outputs: Optional[dict] = None,
    ) -> None:
        """Count the step, move the schedules, end if nothing is left.

        Args:
            runner (Runner): The runner.
            batch_idx (int): Step of the epoch.
            data_batch (Any): Not used.
            outputs (dict, optional): Not used.
        """
        self.budget.count_step()
        # every rank ends with the same step
        spent = [self.budget.spent]
        broadcast_object_list(spent)
        self.budget.spent = spent[0]
        done = runner.iter + 1
        position = int(self.budget.share * self.planned_steps)
        schedulers = schedulers_of(runner)
        for _ in range(position - done - self.steps_ahead):
            for scheduler in schedulers:
                scheduler.step()
            self.steps_ahead += 1
        self.expect_end(runner.train_loop, done, batch_idx + 1)
        if self.budget.is_spent and done < self.planned_steps:
            runner.logger.info(
                f'{self.budget.minutes} minutes are spent: the training ends '
                f'with step {done} of {self.planned_steps}'
            )

    def expect_end(self, loop: Any, done: int, in_epoch: int) -> None:
        """Set the loop's last step to that of the steps' mean time so far.

        Args:
            loop (PartialEpochTrainLoop or IterBasedTrainLoop): The loop.
            done (int): Steps that are done.
            in_epoch (int): Those of them that are of this epoch.
        """
        budget, end = self.budget, self.planned_steps
        if budget.is_spent:
            end = done
        elif budget.spent:
            end = math.ceil(done * budget.minutes / budget.spent)
            end = min(max(end, done + 1), self.planned_steps)
        # mmengine's loops have no setter
        loop._max_iters = end
        if isinstance(loop, PartialEpochTrainLoop):
            steps = in_epoch + end - done
            epochs = loop.epoch + math.ceil(steps / len(loop.dataloader))
            loop._max_epochs = min(epochs, self.planned_epochs)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Put what is spent into a checkpoint.

        Args:
            runner (Runner): The runner.
            checkpoint (dict): What is saved.
        """
        checkpoint[STATE] = dict(
            minutes=self.budget.minutes,
            spent=self.budget.spent,
            steps_ahead=self.steps_ahead,
            planned_steps=self.planned_steps,
        )

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Take it back when a run is resumed.

        Args:
            runner (Runner): The runner.
            checkpoint (dict): What was loaded.
        """
        if runner._resume and STATE in checkpoint:
            self.budget.spent = checkpoint[STATE]['spent']
            self.steps_ahead = checkpoint[STATE]['steps_ahead']


def schedulers_of(runner: Runner) -> List[Any]:
    """All schedulers, also those of several optimizers."""
    found = runner.param_schedulers or []
    if isinstance(found, dict):
        return [scheduler for part in found.values() for scheduler in part]
    return found
