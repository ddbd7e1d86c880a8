"""mmyolo's optimizer constructors, which leave a state space untrained."""

from mmengine.logging import print_log
from mmengine.model import is_model_wrapper
from mmengine.optim import OptimWrapper
from mmyolo.engine.optimizers import (
    YOLOv5OptimizerConstructor,
    YOLOv7OptimWrapperConstructor,
)
from mmyolo.registry import OPTIM_WRAPPER_CONSTRUCTORS
from torch import nn


class _WithStateSpaces:
    """Adds what carries mamba-ssm's mark ``_no_weight_decay``.

    mmyolo's constructors collect what is called ``weight`` or ``bias``;
    Mamba's rates ``A_log`` and skips ``D`` would keep their initial values
    without a word. They get a group without weight decay, after mmyolo's own,
    whose places its scheduler hook knows. Models without such parameters are
    built as ever.
    """

    def __call__(self, model: nn.Module) -> OptimWrapper:
        """Build the optimizer.

        Args:
            model (nn.Module): The model.

        Returns:
            OptimWrapper: mmyolo's, with one group more if it is needed.
        """
        wrapper = super().__call__(model)
        if is_model_wrapper(model):
            model = model.module
        taken = {
            id(parameter)
            for group in wrapper.optimizer.param_groups
            for parameter in group['params']
        }
        left = [
            parameter
            for parameter in model.parameters()
            if getattr(parameter, '_no_weight_decay', False)
            and id(parameter) not in taken
        ]
        if left:
            wrapper.optimizer.add_param_group(
                dict(params=left, weight_decay=0.0)
            )
            print_log(
                f'Optimizer groups: {len(left)} parameters of state spaces',
                'current',
            )
        return wrapper


for _base in (YOLOv5OptimizerConstructor, YOLOv7OptimWrapperConstructor):
    OPTIM_WRAPPER_CONSTRUCTORS.register_module(
        name=_base.__name__,
        force=True,
        module=type(_base.__name__, (_WithStateSpaces, _base), {}),
    )
