import math
from typing import Optional, Sequence, Tuple

import torch
from mmengine.registry import MODELS
from mmyolo.models.layers import ExpMomentumEMA
from torch import Tensor, nn

from ..ops import can_batch, lerp_


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

    _pairs: Optional[Tuple[Sequence[Tensor], Sequence[Tensor]]] = None
    _batched: Optional[bool] = None

    def update_parameters(self, model: nn.Module) -> None:
        """Update the average after a training step.

        Args:
            model (nn.Module): Unused; the tensors are known since the start.
        """
        if self.steps == 0 or self.steps % self.interval:
            super().update_parameters(model)
            return
        momentum = (1 - self.momentum) * math.exp(
            -float(1 + self.steps) / self.gamma
        ) + self.momentum
        averages, sources = self._tensors()
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

    def _tensors(self) -> Tuple[Sequence[Tensor], Sequence[Tensor]]:
        """Averages and sources of floating point, found once."""
        if self._pairs is None:
            pairs = [
                (average.data, self.src_parameters[name].data)
                for name, average in self.avg_parameters.items()
                if average.dtype.is_floating_point
            ]
            self._pairs = tuple(zip(*pairs))
        return self._pairs
