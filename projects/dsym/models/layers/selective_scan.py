import functools
import importlib.util
from typing import Callable, Dict, Optional, Tuple, Union

import torch
import torch.nn.functional as F
from mmengine.logging import print_log
from torch import Tensor

from ...compat import is_compiling
from ...errors import InputError
from ...ops import load_ops
from .chunked_scan import ChunkedScan, scan_in_chunks

BACKENDS = ('mamba_ssm', 'cpp', 'torch')
WAYS = {
    'mamba_ssm': "mamba-ssm's CUDA kernel",
    'cpp': 'the C++ operator',
    'torch': "PyTorch's own operators, chunk by chunk",
}


@functools.cache
def _fused_cuda_scan() -> Optional[Callable]:
    """mamba-ssm's kernel where its CUDA extension is built."""
    if importlib.util.find_spec('selective_scan_cuda') is None:
        return None
    try:
        from mamba_ssm.ops.selective_scan_interface import selective_scan_fn
    except ImportError:  # its other parts want other packages
        return None
    return selective_scan_fn


@functools.cache
def _say_once(device: str, backend: str) -> None:
    print_log(f'selective scans on {device}: {WAYS[backend]}', 'current')


def choose_backend(
    device: torch.device, dtype: torch.dtype = torch.float32
) -> str:
    """Name the fastest way to scan on a device, and log it once.

    Args:
        device (torch.device): Where the tensors are.
        dtype (torch.dtype): Theirs. Defaults to float32.

    Returns:
        str: 'mamba_ssm' for CUDA with mamba-ssm's extension (written to its
        documented interface, not run here), 'cpp' for a CPU with our compiled
        operator, else 'torch', which an export to ONNX, ``torch.compile``
        and ``torch.jit.trace`` (also to count operations) always take.
    """
    if (
        torch.onnx.is_in_onnx_export()
        or is_compiling()
        or torch.jit.is_tracing()
    ):
        return 'torch'
    backend = 'torch'
    if device.type == 'cuda' and dtype != torch.float64:
        # its states are float32
        backend = 'mamba_ssm' if _fused_cuda_scan() else 'torch'
    elif device.type == 'cpu' and load_ops():
        backend = 'cpp'
    _say_once(device.type, backend)
    return backend


def _check(backend: str, tensors: Dict[str, Optional[Tensor]]) -> None:
    """Raise :class:`InputError` for what cannot be scanned."""
    if backend not in BACKENDS:
        raise InputError(
            f'selective_scan: backend={backend!r} must be one of {BACKENDS}'
        )
    if backend == 'cpp' and not load_ops():
        raise InputError(
            "selective_scan: backend='cpp' is not compiled here: install a "
            "C++ compiler and ninja, or take 'torch'"
        )
    if backend == 'mamba_ssm' and _fused_cuda_scan() is None:
        raise InputError(
            "selective_scan: backend='mamba_ssm' has no CUDA extension here: "
            "install mamba-ssm with it, or take 'torch'"
        )
    u, A, B = tensors['u'], tensors['A'], tensors['B']
    if u.dim() != 3 or A.dim() != 2 or A.is_complex() or B.dim() not in (3, 4):
        raise InputError(
            f'selective_scan: u {tuple(u.shape)}, A {tuple(A.shape)}, B '
            f'{tuple(B.shape)} must be (b, D, L), real (D, N), (b, [groups,] '
            'N, L)'
        )
    batch, channels, length = u.shape
    groups = B.shape[1:-2]
    state = (batch, *groups, A.size(1), length)
    wanted = dict(
        delta=u.shape, A=(channels, A.size(1)), B=state, C=state,
        D=(channels,), z=u.shape, delta_bias=(channels,),
    )  # fmt: skip
    for name, shape in wanted.items():
        x = tensors[name]
        if x is not None and x.shape != torch.Size(shape):
            raise InputError(
                f'selective_scan: {name} is {tuple(x.shape)}, not '
                f'{tuple(shape)}, for u {tuple(u.shape)}'
            )
    if not length or (groups and (not groups[0] or channels % groups[0])):
        raise InputError(
            f'selective_scan: u {tuple(u.shape)} wants tokens, and channels '
            f'in whole groups of B {tuple(B.shape)}'
        )


def _scan_torch(
    u: Tensor,
    steps: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    z: Optional[Tensor],
    bias: Tensor,
    positive: bool,
) -> Tuple[Tensor, Tensor]:
    """Scan chunk by chunk in PyTorch.

    Args:
        u (Tensor): ``(b, L, D)``.
        steps (Tensor): ``(b, L, D)``.
        A (Tensor): ``(N, D)``.
        B (Tensor): ``(b, L, groups, N)``.
        C (Tensor): As ``B``.
        D (Tensor): ``(D,)``.
        z (Tensor, optional): ``(b, L, D)``.
        bias (Tensor): Of the steps, ``(D,)``.
        positive (bool): Whether steps go through a softplus.

    Returns:
        tuple[Tensor]: ``(b, L, D)`` and the last state ``(b, N, D)``.
    """
    delta = steps + bias
    if positive:
        delta = F.softplus(delta)
    if torch.onnx.is_in_onnx_export():  # it has no autograd functions
        y, last, _ = scan_in_chunks(u, delta, A, B, C)
    else:
        y, last = ChunkedScan.apply(u, delta, A, B, C)
    y = torch.addcmul(y, u, D)
    return (y if z is None else y * F.silu(z)), last


def _scan_cpp(
    u: Tensor,
    steps: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor,
    z: Optional[Tensor],
    bias: Tensor,
    positive: bool,
) -> Tuple[Tensor, Tensor]:
    """Call the C++ operator, as :func:`_scan_torch`, on whole vectors."""
    groups, channels = B.size(2), u.size(2)
    lanes = torch.ops.dsym.vector_bytes() // u.element_size()
    missing = -(channels // groups) % lanes

    def padded(x: Optional[Tensor]) -> Optional[Tensor]:
        if x is None or not missing:
            return x
        return F.pad(x.unflatten(-1, (groups, -1)), (0, missing)).flatten(-2)

    inputs = (padded(u), padded(steps), padded(A), B, C, padded(D))
    inputs += (padded(z), padded(bias))
    keep = torch.is_grad_enabled() and any(
        x is not None and x.requires_grad for x in inputs
    )
    out = torch.ops.dsym.selective_scan(*inputs, positive, keep)
    if missing:
        out = [
            x.unflatten(-1, (groups, -1))[..., :-missing].flatten(-2)
            for x in out
        ]
    return tuple(out)


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Optional[Tensor] = None,
    z: Optional[Tensor] = None,
    delta_bias: Optional[Tensor] = None,
    delta_softplus: bool = False,
    return_last_state: bool = False,
    backend: Optional[str] = None,
) -> Union[Tensor, Tuple[Tensor, Tensor]]:
    """Scan with Mamba's input-dependent recurrence (eq 4 of the DSYM paper).

    ``h_t = exp(delta_t A) h_{t-1} + delta_t B_t u_t`` and ``y_t = C_t h_t + D
    u_t``, times ``silu(z)`` where a gate is given: ``selective_scan_fn`` of
    mamba-ssm with the same arguments (Gu and Dao, "Mamba", arXiv:2312.00752).
    States are float32, or float64 for float64 inputs, whatever the inputs are.

    Tensors whose channels are neighbours in memory, ``(b, L, D)`` transposed,
    are taken without a copy.

    Args:
        u (Tensor): Inputs ``(b, D, L)``.
        delta (Tensor): Step sizes ``(b, D, L)``, before bias and softplus.
        A (Tensor): Rates ``(D, N)``, real and not positive.
        B (Tensor): ``(b, N, L)`` or ``(b, groups, N, L)``.
        C (Tensor): As ``B``.
        D (Tensor, optional): Skip ``(D,)``. Defaults to None.
        z (Tensor, optional): Gate ``(b, D, L)``. Defaults to None.
        delta_bias (Tensor, optional): ``(D,)``. Defaults to None.
        delta_softplus (bool): Whether the steps are the softplus of ``delta``.
            Defaults to False.
        return_last_state (bool): Whether to return ``h_L`` as well, without
            gradient. Defaults to False.
        backend (str, optional): 'mamba_ssm', 'cpp' or 'torch'. Defaults to
            None, what :func:`choose_backend` says.

    Returns:
        Tensor: ``(b, D, L)`` in the type of ``u``; with ``return_last_state``
        a tuple of it and ``(b, D, N)``.

    Raises:
        InputError: If the backend is unknown or not there, or shapes do not
            agree.
    """
    backend = backend or choose_backend(u.device, u.dtype)
    tensors = dict(
        u=u, delta=delta, A=A, B=B, C=C, D=D, z=z, delta_bias=delta_bias
    )
    if not torch.jit.is_tracing():  # which an export to ONNX does
        _check(backend, tensors)
    if backend == 'mamba_ssm':
        return _fused_cuda_scan()(
            u, delta, A, B, C, D, z, delta_bias, delta_softplus,
            return_last_state,
        )  # fmt: skip
    exact = torch.float64 if u.dtype == torch.float64 else torch.float32

    def tokens(x: Tensor) -> Tensor:
        return x.to(exact).transpose(1, 2)

    def group_tokens(x: Tensor) -> Tensor:
        x = x.to(exact)
        return (x if x.dim() == 4 else x.unsqueeze(1)).permute(0, 3, 1, 2)

    # autocast would take the products of the plain path to bfloat16
    with torch.autocast(u.device.type, enabled=False):
        scan = _scan_cpp if backend == 'cpp' else _scan_torch
        nothing = u.new_zeros(u.size(1), dtype=exact)
        y, last = scan(
            tokens(u),
            tokens(delta),
            A.to(exact).t(),
            group_tokens(B),
            group_tokens(C),
            nothing if D is None else D.to(exact),
            None if z is None else tokens(z),
            nothing if delta_bias is None else delta_bias.to(exact),
            delta_softplus,
        )
    y = y.transpose(1, 2)
    y = y.to(u.dtype)
    return (y, last.transpose(1, 2)) if return_last_state else y
