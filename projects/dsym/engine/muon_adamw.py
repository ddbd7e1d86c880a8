from typing import Any, Callable, Dict, List, Optional, Tuple

import torch
from mmengine.registry import OPTIMIZERS
from torch import Tensor

from ..errors import InputError
from ..ops import can_batch, muon_apply, muon_look_ahead

# Of the quintic iteration of Jordan et al.: they do not converge to 1 but
# bring every singular value between 1e-3 and 1 near it in five steps.
NS_COEFFICIENTS = (3.4445, -4.7750, 2.0315)
NS_STEPS = 5


def orthogonalize(matrices: Tensor) -> Tensor:
    """Replace the singular values of matrices by about 1.

    Newton-Schulz iteration of Muon (Jordan et al., 2024,
    kellerjordan.github.io/posts/muon). A step is ``X <- (a + b G + c G^2) X``
    with ``G = X X^T``; the factors are polynomials of the first ``G``, so they
    commute and their product is found among the small ``(R, R)`` matrices.

    Args:
        matrices (Tensor): ``(B, R, C)``.

    Returns:
        Tensor: ``(B, R, C)``, nearly the ``U V^T`` of each ``U S V^T``.
    """
    a, b, c = NS_COEFFICIENTS
    x = matrices / (matrices.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    tall = x.size(-2) > x.size(-1)
    if tall:
        x = x.mT
    gram = x @ x.mT
    product = None
    for left in reversed(range(NS_STEPS)):
        factor = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        factor.diagonal(dim1=-2, dim2=-1).add_(a)
        product = factor if product is None else factor @ product
        if left:
            gram = factor @ gram @ factor
    x = product @ x
    return x.mT if tall else x


def as_matrix(weight: Tensor) -> Tensor:
    """Flatten a weight ``(O, I, kH, kW)`` or ``(O, I)`` to ``(O, C)``.

    The order of the columns does not matter to an orthogonal factor;
    channels-last costs no copy where the weight is kept so.
    """
    return weight.movedim(1, -1).flatten(1)


def as_weight(matrix: Tensor, like: Tensor) -> Tensor:
    """Turn what :func:`as_matrix` gave back into a weight's shape."""
    shape = (like.size(0), *like.shape[2:], like.size(1))
    return matrix.view(shape).movedim(-1, 1)


@OPTIMIZERS.register_module()
class MuonAdamW(torch.optim.AdamW):
    """Muon for the hidden layers' weights, AdamW for everything else.

    Muon takes the momentum of a layer's gradient, a matrix of output channels
    times the rest, and steps along its orthogonal factor, so that rare
    directions learn as fast as frequent ones. Few labels mean few steps
    (docs/training.md). ``torch.optim.Muon`` has the same update for single
    2-D parameters; this one takes convolutions and all layers of one shape in
    one batch, and shares groups and schedulers with AdamW.

    Hidden layers are the groups that :class:`GroupedOptimWrapperConstructor`
    marks ``is_hidden=True``.

    Args:
        params (list): Groups of parameters.
        lr (float): Learning rate of both. Defaults to 1e-3.
        muon_momentum (float): Momentum of Muon, Nesterov's. Defaults to 0.95.
        muon_rms (float): Root mean square of Muon's step before the learning
            rate. AdamW's own is about 0.2. Defaults to 0.2.
        **kwargs: As ``torch.optim.AdamW``; ``weight_decay`` holds for both.

    Raises:
        InputError: If no group says whether its layers are hidden.
    """

    def __init__(
        self,
        params: List[Dict[str, Any]],
        lr: float = 1e-3,
        muon_momentum: float = 0.95,
        muon_rms: float = 0.2,
        **kwargs,
    ) -> None:
        super().__init__(params, lr=lr, **kwargs)
        if not any('is_hidden' in group for group in self.param_groups):
            raise InputError(
                'MuonAdamW: no group of parameters says which layers are '
                "hidden: set optim_wrapper.constructor='"
                "GroupedOptimWrapperConstructor'"
            )
        # fused AdamW would let a GradScaler leave overflows to its kernel,
        # which knows nothing of Muon's half
        self._step_supports_amp_scaling = False
        self.muon_momentum = muon_momentum
        self.muon_rms = muon_rms

    @torch.no_grad()
    def step(self, closure: Optional[Callable] = None) -> Optional[Tensor]:
        """Take one step.

        Args:
            closure (callable, optional): As in torch. Defaults to None.

        Returns:
            Tensor: What the closure gave, else None.
        """
        groups = self.param_groups
        try:
            self.param_groups = [g for g in groups if not g.get('is_hidden')]
            loss = super().step(closure)
        finally:
            self.param_groups = groups
        for group in groups:
            if group.get('is_hidden'):
                self._muon_step(group)
        return loss

    def load_state_dict(self, state_dict: Dict[str, Any]) -> None:
        """Load, in the memory order of the parameters.

        The fused kernels of both halves walk a state as its parameter lies,
        which may be channels-last in one run and not in the other.

        Args:
            state_dict (dict): As in torch.
        """
        super().load_state_dict(state_dict)
        for parameter, state in self.state.items():
            for key, value in state.items():
                if (
                    torch.is_tensor(value)
                    and value.shape == parameter.shape
                    and value.stride() != parameter.stride()
                ):
                    like = torch.empty_like(parameter, dtype=value.dtype)
                    state[key] = like.copy_(value)

    def _muon_step(self, group: Dict[str, Any]) -> None:
        """Update one group, layers of the same shape at once."""
        by_shape: Dict[Tuple, List[Tensor]] = {}
        for layer in group['params']:
            if layer.grad is not None:
                key = (layer.shape, layer.stride())
                by_shape.setdefault(key, []).append(layer)
        for layers in by_shape.values():
            self._layers_step(group, layers)

    def _layers_step(
        self, group: Dict[str, Any], layers: List[Tensor]
    ) -> None:
        """Update layers of one shape, in C++ but for the matrix products."""
        lr, momentum = group['lr'], self.muon_momentum
        rows, columns = len(layers[0]), layers[0][0].numel()
        # an orthogonal factor's entries have the RMS 1 / sqrt(larger side)
        step = lr * self.muon_rms * max(rows, columns) ** 0.5
        keep = 1 - lr * group['weight_decay']
        grads = [layer.grad for layer in layers]
        buffers = [self._buffer(layer) for layer in layers]
        if can_batch(layers, grads, buffers):
            matrices = muon_look_ahead(grads, buffers, momentum)
            muon_apply(layers, orthogonalize(matrices), step, keep)
            return
        torch._foreach_lerp_(buffers, grads, 1 - momentum)
        ahead = torch._foreach_lerp(grads, buffers, momentum)
        steps = orthogonalize(torch.stack([as_matrix(g) for g in ahead]))
        steps *= -step
        torch._foreach_mul_(layers, keep)
        torch._foreach_add_(
            layers, [as_weight(s, p) for s, p in zip(steps, layers)]
        )

    def _buffer(self, parameter: Tensor) -> Tensor:
        """Momentum of a layer, zeros at first."""
        state = self.state[parameter]
        if not state:
            state['step'] = torch.tensor(0.0)  # AdamW's loading asks for one
            state['momentum_buffer'] = torch.zeros_like(parameter)
        return state['momentum_buffer']
