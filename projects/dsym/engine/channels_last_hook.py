import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from .unwrapped import unwrapped_model


@HOOKS.register_module()
class ChannelsLastHook(Hook):
    """Keep convolution weights in channels-last memory order.

    A convolution with such weights computes and returns channels-last tensors
    whatever its input's order, so the whole network follows. On CPUs it saves
    the reordering around every oneDNN call; values do not change.
    """

    # Before EMAHook: the conversion moves the weights to new memory, and
    # mmyolo's averages would go on reading the old, untrained one.
    priority = 'VERY_HIGH'

    def before_run(self, runner: Runner) -> None:
        """Convert the parameters in place, before an EMA copies them.

        Args:
            runner (Runner): The runner, whose model is converted.
        """
        unwrapped_model(runner).to(memory_format=torch.channels_last)
