import math
from typing import Optional, Sequence, Tuple

import torch
from mmengine.registry import MODELS
from mmyolo.models.layers import ExpMomentumEMA
from torch import Tensor, nn

from ..ops import can_batch, lerp_

# Steps between two looks whether the tensors are still the model's; a look
# lists 1,500 of them, some milliseconds.
LOOK_EVERY = 100


@MODELS.register_module()
class ForeachExpMomentumEMA(ExpMomentumEMA):
    """mmyolo's ``ExpMomentumEMA`` with one call for all tensors.

    The same average: ``(1 - m) average + m source`` with
    ``m = (1 - momentum) exp(-(1 + steps) / gamma) + momentum``. YOLOv9-t has
    1,500 floating-point tensors, most of them of a few dozen numbers.

    Args:
        model (nn.Module): The model to be averaged.
        **kwargs: As in mmyolo: ``momentum``, ``gamma``, ``interval``,
            ``device``, ``update_buffers``.
    """

    _found: Optional[
        Tuple[Sequence[str], Sequence[Tensor], Sequence[Tensor]]
    ] = None
    _batched: Optional[bool] = None

    def update_parameters(self, model: nn.Module) -> None:
        """Update the average after a training step.

        Args:
            model (nn.Module): The model, whose tensors are known since the
                start.

        Raises:
            RuntimeError: If some of them were replaced since.
        """
        if self.steps % LOOK_EVERY == 0:
            self._find_replaced(model)
        if self.steps == 0 or self.steps % self.interval:
            super().update_parameters(model)
            return
        momentum = (1 - self.momentum) * math.exp(
            -float(1 + self.steps) / self.gamma
        ) + self.momentum
        _, averages, sources = self._tensors()
        if self._batched is None:
            self._batched = can_batch(averages, sources) and all(
                average.stride() == source.stride()
                for average, source in zip(averages, sources)
            )
        if self._batched:
            lerp_(averages, sources, momentum)
        else:
            torch._foreach_lerp_(averages, sources, momentum)
        if not self.update_buffers:
            for average, source in zip(
                self.module.buffers(), self.src_buffers
            ):
                average.data.copy_(source.data)
        self.steps += 1

    def _find_replaced(self, model: nn.Module) -> None:
        """Raise if the average would follow tensors of the past."""
        names, _, sources = self._tensors()
        known = dict(zip(names, sources))
        for name, value in model.state_dict().items():
            if known.get(name, value).data_ptr() != value.data_ptr():
                raise RuntimeError(
                    f'{name} was replaced after the average of the weights '
                    'had begun: let a hook that moves tensors come before '
                    'EMAHook (priority), or write into them'
                )

    def _tensors(
        self,
    ) -> Tuple[Sequence[str], Sequence[Tensor], Sequence[Tensor]]:
        """Names, averages and sources of floating point, found once."""
        if self._found is None:
            rows = [
                (name, average.data, self.src_parameters[name].data)
                for name, average in self.avg_parameters.items()
                if average.dtype.is_floating_point
            ]
            self._found = tuple(zip(*rows))
        return self._found
