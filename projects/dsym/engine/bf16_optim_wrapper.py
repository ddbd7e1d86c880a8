from contextlib import contextmanager
from typing import Iterator, Sequence, Union

import torch
from mmengine.device import get_device
from mmengine.logging import print_log
from mmengine.optim import OptimWrapper
from mmengine.registry import OPTIM_WRAPPERS
from torch import Tensor, nn

from ..bf16 import faster_in_bf16
from ..errors import InputError
from ..ops import can_batch, clip_norm_


def clip_grad_norm_(
    parameters: Sequence[nn.Parameter], max_norm: float, **kwargs
) -> Union[float, Tensor]:
    """Torch's function, in one call for all tensors where that can be done.

    Args:
        parameters (Sequence[nn.Parameter]): Parameters with gradients.
        max_norm (float): The norm that is allowed.
        **kwargs: Other arguments of torch's function, which then does it.

    Returns:
        float or Tensor: The norm before.
    """
    grads = [parameter.grad for parameter in parameters]
    if not kwargs and can_batch(grads):
        return clip_norm_(grads, max_norm)
    return nn.utils.clip_grad_norm_(parameters, max_norm, **kwargs)


@OPTIM_WRAPPERS.register_module()
class BF16OptimWrapper(OptimWrapper):
    """Optimizer wrapper with bfloat16 autocast, also on a CPU.

    mmengine's ``AmpOptimWrapper`` refuses to run on a CPU. Bfloat16 has
    float32's range, so no loss is scaled and gradients, weights and optimizer
    states stay float32; only the convolutions and matrix products of the
    forward and their backward run in bfloat16.

    Args:
        enabled (bool or str): Whether to autocast; 'auto' does it where that
            is faster (:func:`faster_in_bf16`) and computes in float32
            elsewhere. Defaults to 'auto'.
        **kwargs: As ``mmengine.optim.OptimWrapper``.

    Raises:
        InputError: If ``enabled`` is something else.
    """

    def __init__(self, enabled: Union[bool, str] = 'auto', **kwargs) -> None:
        super().__init__(**kwargs)
        if enabled not in (True, False, 'auto'):
            raise InputError(
                f'optim_wrapper.enabled={enabled!r} of BF16OptimWrapper: give '
                "True, False or 'auto'"
            )
        if getattr(self, 'clip_func', None) is nn.utils.clip_grad_norm_:
            self.clip_func = clip_grad_norm_
        self.device = get_device()
        if enabled == 'auto':
            enabled = faster_in_bf16(self.device)
            precision = 'bfloat16' if enabled else 'float32'
            print_log(f'{self.device} trains in {precision}', logger='current')
        self.enabled = enabled

    @contextmanager
    def optim_context(self, model: nn.Module) -> Iterator[None]:
        """Autocast the forward pass.

        Args:
            model (nn.Module): The model that is trained.

        Yields:
            None: Control to the forward pass.
        """
        autocast = torch.autocast(
            self.device, dtype=torch.bfloat16, enabled=self.enabled
        )
        with super().optim_context(model), autocast:
            yield
