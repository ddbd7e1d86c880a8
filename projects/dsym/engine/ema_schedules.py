import math
from typing import Optional, Union

import torch
from mmengine.dist import all_reduce
from mmengine.registry import TASK_UTILS
from torch import Tensor

from ..errors import InputError

Scalar = Union[float, Tensor]


@TASK_UTILS.register_module()
class ConstantEMA:
    """The same coefficient at every step.

    Args:
        alpha (float): Share of the teacher that stays, eq 3 of the DSYM
            paper. Defaults to 0.999, an average over 1,000 steps.

    Attributes:
        usual (float, optional): State of :class:`AdaptiveEMA`.

    Raises:
        InputError: If it is not in [0, 1].
    """

    usual: Optional[float] = None

    def __init__(self, alpha: float = 0.999) -> None:
        if not 0 <= alpha <= 1:
            raise InputError(
                f'alpha={alpha} of {type(self).__name__}: give a share of 0 '
                'to 1 of the teacher that stays at a step'
            )
        self.alpha = alpha

    def __call__(
        self, step: int, max_steps: int, disagreement: Optional[Scalar] = None
    ) -> float:
        """Give the coefficient.

        Args:
            step (int): Steps that the teacher has followed the student.
            max_steps (int): All that it will.
            disagreement (float or Tensor, optional): How far student and
                teacher are apart at this step.

        Returns:
            float: Share of the teacher that stays.
        """
        return self.alpha


@TASK_UTILS.register_module()
class WarmupEMA(ConstantEMA):
    """``min(alpha, (1 + step) / (10 + step))``: a young average forgets fast.

    TensorFlow's rule. At 0.999 it rises over 9,000 steps; the average always
    spans about a ninth of the steps so far.

    Args:
        alpha (float): The final coefficient. Defaults to 0.999.
    """

    def __call__(
        self, step: int, max_steps: int, disagreement: Optional[Scalar] = None
    ) -> float:
        """As in :class:`ConstantEMA`."""
        return min(self.alpha, (1 + step) / (10 + step))


@TASK_UTILS.register_module()
class CosineEMA(ConstantEMA):
    """From ``alpha`` to 1 by half a cosine, as BYOL (arXiv:2006.07733).

    Args:
        alpha (float): The first coefficient. Defaults to 0.999.
    """

    def __call__(
        self, step: int, max_steps: int, disagreement: Optional[Scalar] = None
    ) -> float:
        """As in :class:`ConstantEMA`."""
        done = min(1, step / max_steps)
        return 1 - (1 - self.alpha) * (math.cos(math.pi * done) + 1) / 2


@TASK_UTILS.register_module()
class AdaptiveEMA(ConstantEMA):
    """Slower while student and teacher disagree more than they used to.

    The DSYM paper's future work. ``1 - alpha`` is multiplied with ``usual /
    disagreement`` within [1 / bound, bound], where ``usual`` is the running
    mean of the disagreement: a student that a bad batch has thrown off moves
    the teacher less, one that has settled moves it more.

    Args:
        alpha (float): At the usual disagreement. Defaults to 0.999.
        bound (float): Greatest factor and, inverted, the least. Defaults to
            4.
        momentum (float): Weight of a step in the running mean. Defaults to
            0.01.
    """

    def __init__(
        self, alpha: float = 0.999, bound: float = 4.0, momentum: float = 0.01
    ) -> None:
        super().__init__(alpha)
        self.bound = bound
        self.momentum = momentum

    def __call__(
        self, step: int, max_steps: int, disagreement: Optional[Scalar] = None
    ) -> float:
        """As in :class:`ConstantEMA`, also where nothing was compared."""
        if disagreement is None:  # a filter refused all images of the step
            return self.alpha
        mean = torch.as_tensor(disagreement, dtype=torch.float32).clone()
        all_reduce(mean, 'mean')  # or the ranks' teachers would part
        disagreement = float(mean)
        if self.usual is None:
            self.usual = disagreement
        self.usual += self.momentum * (disagreement - self.usual)
        factor = self.usual / max(disagreement, 1e-12)
        factor = min(self.bound, max(1 / self.bound, factor))
        return 1 - min(1, (1 - self.alpha) * factor)
