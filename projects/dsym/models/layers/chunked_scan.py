"""The selective scan in plain PyTorch, chunks of tokens at a time."""

from typing import List, Tuple

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import once_differentiable

# Tokens that follow each other in Python; chunks of them run side by side.
CHUNK = 40
# States of a segment that backward holds at once, 16 MiB of float32 twice.
SEGMENT_STATES = 2**22


def _split(x: Tensor) -> Tensor:
    """Split ``(batch, length, ...)`` into ``(batch, chunks, CHUNK, ...)``.

    The end is filled with zeros: a step of length zero changes no state.
    """
    missing = -x.size(1) % CHUNK
    if missing:
        x = torch.cat((x, x.new_zeros(x.size(0), missing, *x.shape[2:])), 1)
    return x.unflatten(1, (-1, CHUNK))


class _Chunks:
    """Inputs of some chunks, and the recurrence on all of them at once.

    With batch ``b``, chunks ``k``, groups ``g``, channels a group ``d`` and
    states ``n``: ``u, delta (b, k, CHUNK, g, d)``, ``A (g, d, n)``, ``B, C
    (b, k, CHUNK, g, n)``; a state is ``(b, k, g, d, n)``.
    """

    def __init__(
        self, u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor
    ) -> None:
        self.u, self.delta, self.A, self.B, self.C = u, delta, A, B, C

    def total_decay(self) -> Tensor:
        return _decay(self.delta.sum(2), self.A)

    def part(self, begin: int, end: int) -> '_Chunks':
        rows = slice(begin, end)
        return _Chunks(
            self.u[:, rows],
            self.delta[:, rows],
            self.A,
            self.B[:, rows],
            self.C[:, rows],
        )


def _inputs(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor
) -> _Chunks:
    groups = B.size(2)

    def grouped(x: Tensor) -> Tensor:
        return _split(x).unflatten(-1, (groups, -1))

    return _Chunks(
        grouped(u),
        grouped(delta),
        A.t().unflatten(0, (groups, -1)),
        _split(B),
        _split(C),
    )


def _decay(delta: Tensor, A: Tensor) -> Tensor:
    """What one token of each chunk leaves of the states."""
    return torch.exp(delta[..., None] * A)


def _step(
    state: Tensor, decay: Tensor, u: Tensor, delta: Tensor, B: Tensor
) -> Tensor:
    """Move the states on by one token of each chunk."""
    x = (delta * u)[..., None]
    return torch.addcmul(state * decay, x, B[..., None, :])


# Loops, which an export to ONNX keeps as such and does not unroll.
@torch.jit.script_if_tracing
def _last_states(
    state: Tensor, u: Tensor, delta: Tensor, A: Tensor, B: Tensor
) -> Tensor:
    """Scan all chunks side by side to their last states."""
    for t in range(u.size(2)):
        steps = delta[:, :, t]
        decay = _decay(steps, A)
        state = _step(state, decay, u[:, :, t], steps, B[:, :, t])
    return state


@torch.jit.script_if_tracing
def _carry(total: Tensor, ends: Tensor) -> Tuple[Tensor, Tensor]:
    """Find the chunks' first states and the last state of all."""
    state = torch.zeros_like(ends[:, 0])
    starts: List[Tensor] = []
    for k in range(ends.size(1)):
        starts.append(state)
        state = total[:, k] * state + ends[:, k]
    return torch.stack(starts, 1), state


@torch.jit.script_if_tracing
def _values(
    state: Tensor, u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor
) -> Tensor:
    """Scan all chunks side by side from their first states."""
    values: List[Tensor] = []
    for t in range(u.size(2)):
        steps = delta[:, :, t]
        decay = _decay(steps, A)
        state = _step(state, decay, u[:, :, t], steps, B[:, :, t])
        values.append((state @ C[:, :, t, :, :, None]).squeeze(-1))
    return torch.stack(values, 2)


def scan_in_chunks(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor
) -> Tuple[Tensor, Tensor, Tensor]:
    """Scan forward, in operators that ONNX has as well.

    Every chunk is scanned from a state of zero, all of them side by side; the
    chunks' last states are carried on one after the other; a second scan from
    the right states gives the values. Only non-positive sums are
    exponentiated and nothing is divided by a cumulative product.

    Args:
        u (Tensor): ``(b, L, D)``.
        delta (Tensor): ``(b, L, D)``.
        A (Tensor): ``(N, D)``.
        B (Tensor): ``(b, L, groups, N)``.
        C (Tensor): ``(b, L, groups, N)``.

    Returns:
        tuple[Tensor]: Values ``(b, L, D)``, the last state ``(b, N, D)`` and
        the chunks' first states ``(b, chunks, groups, D / groups, N)``.
    """
    chunks = _inputs(u, delta, A, B, C)
    parts = chunks.u, chunks.delta, chunks.A, chunks.B
    total = chunks.total_decay()
    ends = _last_states(torch.zeros_like(total), *parts)
    starts, last = _carry(total, ends)
    # sizes in full: an export does not know the rank of what a loop gives
    batch, length, channels = u.shape
    y = _values(starts, *parts, chunks.C)
    filled = length + -length % CHUNK
    y = y.reshape(batch, filled, channels)[:, :length]
    last = last.reshape(batch, channels, A.size(0)).transpose(1, 2)
    return y, last, starts


class ChunkedScan(Function):
    """``h_t = exp(delta_t A) h_{t-1} + delta_t u_t B_t``, ``y_t = C_t h_t``.

    :func:`scan_in_chunks` with its gradient. Memory grows with ``L D (1 + N /
    CHUNK)``: backward computes the states again. ``apply(u, delta, A, B, C)``
    gives ``y (b, L, D)`` and the last state ``(b, N, D)``, which has no
    gradient.
    """

    @staticmethod
    def forward(
        ctx, u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor
    ) -> Tuple[Tensor, Tensor]:
        y, last, starts = scan_in_chunks(u, delta, A, B, C)
        ctx.save_for_backward(u, delta, A, B, C, starts)
        ctx.mark_non_differentiable(last)
        return y, last

    @staticmethod
    @once_differentiable
    def backward(ctx, dy: Tensor, _: Tensor) -> Tuple[Tensor, ...]:
        u, delta, A, B, C, starts = ctx.saved_tensors
        chunks = _inputs(u, delta, A, B, C)
        dy = _split(dy).unflatten(-1, (B.size(2), -1))
        grads = _Chunks(
            *(torch.empty_like(x) for x in (chunks.u, chunks.delta)),
            torch.zeros_like(chunks.A),
            *(torch.empty_like(x) for x in (chunks.B, chunks.C)),
        )
        num = chunks.u.size(1)
        size = max(1, SEGMENT_STATES // max(1, starts[:, 0].numel() * CHUNK))
        carry = torch.zeros_like(starts[:, 0])
        for end in range(num, 0, -size):
            begin = max(0, end - size)
            carry = _backward_segment(
                chunks.part(begin, end),
                starts[:, begin:end],
                dy[:, begin:end],
                carry,
                grads.part(begin, end),
            )

        def joined(x: Tensor) -> Tensor:
            return x.flatten(1, 2)[:, : u.size(1)]

        return (
            joined(grads.u.flatten(3)),
            joined(grads.delta.flatten(3)),
            grads.A.flatten(0, 1).t(),
            joined(grads.B),
            joined(grads.C),
        )


def _backward_segment(
    chunks: _Chunks, starts: Tensor, dy: Tensor, carry: Tensor, grads: _Chunks
) -> Tensor:
    """Write the gradients of some neighbouring chunks.

    Args:
        chunks (_Chunks): Their inputs.
        starts (Tensor): Their first states ``(b, k, g, d, n)``.
        dy (Tensor): Gradient of their outputs ``(b, k, CHUNK, g, d)``.
        carry (Tensor): Gradient of the last one's end state ``(b, g, d, n)``.
        grads (_Chunks): Where the gradients go.

    Returns:
        Tensor: Gradient of the first one's start state.
    """
    states: List[Tensor] = [starts]
    decays: List[Tensor] = []
    for t in range(CHUNK):
        steps = chunks.delta[:, :, t]
        decays.append(_decay(steps, chunks.A))
        states.append(
            _step(
                states[-1],
                decays[-1],
                chunks.u[:, :, t],
                steps,
                chunks.B[:, :, t],
            )
        )

    def outer(t: int) -> Tensor:
        return dy[:, :, t, ..., None] * chunks.C[:, :, t, :, None]

    local = torch.zeros_like(starts)
    for t in reversed(range(CHUNK)):
        local = (local + outer(t)) * decays[t]
    total = chunks.total_decay()
    ends = torch.empty_like(starts)
    for k in reversed(range(starts.size(1))):
        ends[:, k] = carry
        carry = local[:, k] + total[:, k] * carry

    gradient = ends
    for t in reversed(range(CHUNK)):
        u, delta = chunks.u[:, :, t], chunks.delta[:, :, t]
        gradient = gradient + outer(t)
        rows = gradient.transpose(-1, -2)
        grads.C[:, :, t] = (
            states[t + 1].transpose(-1, -2) @ dy[:, :, t, ..., None]
        ).squeeze(-1)
        grads.B[:, :, t] = (rows @ (delta * u)[..., None]).squeeze(-1)
        of_input = (gradient @ chunks.B[:, :, t, ..., None]).squeeze(-1)
        gradient = gradient * decays[t]
        of_rate = gradient * states[t]
        grads.u[:, :, t] = of_input * delta
        grads.delta[:, :, t] = of_input * u + (of_rate * chunks.A).sum(-1)
        grads.A.add_((of_rate * delta[..., None]).sum((0, 1)))
    return carry
