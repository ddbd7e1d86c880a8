from typing import Dict, Optional

from mmengine.hooks import IterTimerHook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from .mean_teacher_loop import MeanTeacherLoop

# A prediction is the forward third of a training step, whose backward takes
# twice as long as its forward.
TEACHER_SHARE = 1 / 3


@HOOKS.register_module()
class PhaseTimerHook(IterTimerHook):
    """mmengine's timer for a :class:`MeanTeacherLoop`, in ``default_hooks``.

    mmengine's takes the mean step so far for all that are to come. Here each
    phase has a mean of its own; until there is one, a step of phase 2 is
    expected to take as much longer as it has more images: ``1 + (1 + 1/3)
    unlabelled / labelled``. Other loops keep mmengine's.
    """

    def __init__(self) -> None:
        super().__init__()
        self.counts: Dict[bool, int] = {False: 0, True: 0}
        self.means: Dict[bool, float] = {False: 0.0, True: 0.0}

    def _after_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: Optional[dict] = None,
        outputs: Optional[dict] = None,
        mode: str = 'train',
    ) -> None:
        """Note the step's time and expect that of the others."""
        super()._after_iter(runner, batch_idx, data_batch, outputs, mode)
        loop = runner.train_loop
        if mode != 'train' or not isinstance(loop, MeanTeacherLoop):
            return
        both = loop.epoch >= loop.burn_in_epochs
        time = runner.message_hub.get_scalar('train/time').current()
        self.counts[both] += 1
        self.means[both] += (time - self.means[both]) / self.counts[both]
        mean = self.means[both]
        done, end = runner.iter + 1, loop.max_iters
        if both:
            eta = mean * (end - done)
        else:
            first = loop.steps_before(loop.burn_in_epochs)
            labeled = sum(x.batch_sampler.batch_size for x in loop.labeled)
            unlabeled = loop.unlabeled.batch_sampler.batch_size
            longer = 1 + (1 + TEACHER_SHARE) * unlabeled / labeled
            eta = mean * (first - done + longer * (end - first))
        runner.message_hub.update_info('eta', eta)
