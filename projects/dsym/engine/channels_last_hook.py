from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ..memory_order import channels_last
from .unwrapped import unwrapped_model


@HOOKS.register_module()
class ChannelsLastHook(Hook):
    """Keep convolution weights in channels-last memory order.

    A convolution with such weights computes and returns channels-last tensors
    whatever its input's order, so the whole network follows. On CPUs it saves
    the reordering around every oneDNN call; values do not change. A model with
    parts that do not know this order keeps its own (:func:`channels_last`).
    """

    # Before EMAHook: the conversion moves the weights to new memory, and
    # mmyolo's averages would go on reading the old, untrained one.
    priority = 'VERY_HIGH'

    def before_run(self, runner: Runner) -> None:
        """Convert the parameters in place, before an EMA copies them.

        Args:
            runner (Runner): The runner, whose model is converted.
        """
        kind = channels_last(unwrapped_model(runner))
        if kind is not None:
            print_log(
                f'ChannelsLastHook: {kind} reads memory channels first, so '
                'the model stays in that order',
                'current',
            )
