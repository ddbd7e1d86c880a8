"""Operators on all tensors of a small model at once."""

from typing import Sequence

import torch
from torch import Tensor

from .build import load_ops


def can_batch(*groups: Sequence[Tensor]) -> bool:
    """Whether the operators here take some tensors.

    Args:
        *groups (Sequence[Tensor]): The tensors.

    Returns:
        bool: True for float32 tensors on a CPU, where the operators could be
        compiled. They want no holes in the tensors' memory, as parameters and
        their gradients have none.
    """
    return (
        all(
            x.is_cpu and x.dtype == torch.float32 and not x.is_sparse
            for group in groups
            for x in group
        )
        and load_ops()
    )


@torch.no_grad()
def lerp_(
    averages: Sequence[Tensor], sources: Sequence[Tensor], weight: float
) -> None:
    """``average += weight (source - average)`` for all pairs, in place.

    Args:
        averages (Sequence[Tensor]): As :func:`can_batch` wants them.
        sources (Sequence[Tensor]): Of the same shapes and memory order.
        weight (float): Share of the source.
    """
    torch.ops.dsym.lerp_(averages, sources, weight)


@torch.no_grad()
def clip_norm_(grads: Sequence[Tensor], max_norm: float) -> float:
    """Scale gradients to a common norm of ``max_norm`` at the most.

    As ``torch.nn.utils.clip_grad_norm_`` with the 2-norm.

    Args:
        grads (Sequence[Tensor]): As :func:`can_batch` wants them.
        max_norm (float): The norm that is allowed.

    Returns:
        float: The norm before.
    """
    return torch.ops.dsym.clip_norm_(grads, max_norm)


@torch.no_grad()
def muon_look_ahead(
    grads: Sequence[Tensor], buffers: Sequence[Tensor], momentum: float
) -> Tensor:
    """Update the momenta of layers of one shape and look one step ahead.

    Args:
        grads (Sequence[Tensor]): n gradients ``(O, ...)``.
        buffers (Sequence[Tensor]): Their momenta, changed in place; all in
            one memory order with the rows of an output channel together.
        momentum (float): Momentum.

    Returns:
        Tensor: Nesterov's momenta as matrices ``(n, O, columns)``, whose
        columns are in the order of the buffers' memory.
    """
    first = buffers[0]
    matrices = first.new_empty(len(buffers), len(first), first[0].numel())
    torch.ops.dsym.muon_look_ahead(grads, buffers, matrices, momentum)
    return matrices


@torch.no_grad()
def muon_apply(
    weights: Sequence[Tensor], matrices: Tensor, step: float, keep: float
) -> None:
    """``weight = keep * weight - step * matrix``, in place.

    Args:
        weights (Sequence[Tensor]): n layers in the buffers' memory order.
        matrices (Tensor): ``(n, O, columns)`` in the same order.
        step (float): Length of the step.
        keep (float): What weight decay leaves.
    """
    torch.ops.dsym.muon_apply(weights, matrices.contiguous(), step, keep)
