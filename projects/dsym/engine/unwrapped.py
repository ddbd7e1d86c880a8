from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from torch import nn


def unwrapped_model(runner: Runner) -> nn.Module:
    """The model inside a distributed wrapper, if there is one.

    Args:
        runner (Runner): The runner.

    Returns:
        nn.Module: The model.
    """
    model = runner.model
    return model.module if is_model_wrapper(model) else model
