from mmengine.model import BaseTTAModel, is_model_wrapper
from mmengine.runner import Runner
from torch import nn


def unwrapped_model(runner: Runner) -> nn.Module:
    """The model inside what is around it: distribution, ``--tta``, both.

    Args:
        runner (Runner): The runner.

    Returns:
        nn.Module: The model.
    """
    model = runner.model
    while is_model_wrapper(model) or isinstance(model, BaseTTAModel):
        model = model.module
    return model
