"""selective_scan's backends against mamba-ssm's reference."""

import sys

import pytest
import torch
import torch.nn.functional as F
from mamba_ssm_reference import find_mamba_ssm

from dsym.errors import InputError
from dsym.models.layers import selective_scan
from dsym.ops import load_ops

BACKENDS = [
    'torch',
    pytest.param(
        'cpp',
        marks=pytest.mark.skipif(
            not load_ops(), reason='no C++ compiler or ninja here'
        ),
    ),
]
NAMES = ('u', 'delta', 'A', 'B', 'C', 'D', 'z', 'delta_bias')


def reference(
    u, delta, A, B, C, D=None, z=None, delta_bias=None, delta_softplus=False
):
    """The recurrence, token by token, in the type of the inputs."""
    if delta_bias is not None:
        delta = delta + delta_bias[:, None]
    if delta_softplus:
        delta = F.softplus(delta)
    if B.dim() == 3:
        B, C = B.unsqueeze(1), C.unsqueeze(1)
    B, C = (x.repeat_interleave(u.size(1) // x.size(1), 1) for x in (B, C))
    state, ys = u.new_zeros(*u.shape[:2], A.size(1)), []
    for t in range(u.size(2)):
        step = delta[..., t, None]
        state = torch.exp(step * A) * state
        state = state + step * B[..., t] * u[..., t, None]
        ys.append((state * C[..., t]).sum(-1))
    y = torch.stack(ys, -1)
    if D is not None:
        y = y + u * D[:, None]
    return (y if z is None else y * F.silu(z)), state


def inputs(batch, channels, length, states, groups=None, dtype=torch.float32):
    generator = torch.Generator().manual_seed(length + channels)

    def randn(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    rows = (batch,) if groups is None else (batch, groups)
    tensors = (
        randn(batch, channels, length),
        randn(batch, channels, length),
        -torch.exp(randn(channels, states)),
        randn(*rows, states, length),
        randn(*rows, states, length),
        randn(channels),
        randn(batch, channels, length),
        randn(channels) - 2,
    )
    return {
        name: x.to(dtype).requires_grad_() for name, x in zip(NAMES, tensors)
    }


def assert_close(found, expected, rtol):
    """In parts of the greatest value."""
    error = (found.double() - expected.double()).abs().max()
    assert error <= rtol * expected.double().abs().max()


SHAPES = [
    dict(batch=2, channels=16, length=70, states=16),
    dict(batch=1, channels=5, length=1, states=3),  # padded channels
    dict(batch=1, channels=48, length=64, states=8),  # a whole chunk
    dict(batch=3, channels=6, length=41, states=4, groups=3),
    dict(batch=2, channels=64, length=129, states=16, groups=2),
]


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('shape', SHAPES)
def test_values_and_gradients(shape, backend):
    ours = inputs(**shape)
    exact = {k: v.detach().double().requires_grad_() for k, v in ours.items()}
    y, last = selective_scan(
        **ours, delta_softplus=True, return_last_state=True, backend=backend
    )
    expected, state = reference(**exact, delta_softplus=True)
    assert_close(y, expected, 1e-5)
    assert_close(last, state, 1e-5)
    dy = torch.randn_like(y)
    y.backward(dy)
    expected.backward(dy.double())
    for name in NAMES:
        assert_close(ours[name].grad, exact[name].grad, 1e-4)


@pytest.fixture(scope='module')
def mamba_ssm():
    """The package itself, whose reference functions run on a CPU."""
    module = find_mamba_ssm()
    if module is None:
        pytest.skip('the test-only peer mamba-ssm is not installed')
    return module


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('shape', SHAPES)
def test_values_and_gradients_of_mamba_ssm(shape, backend, mamba_ssm):
    ours, theirs = inputs(**shape), inputs(**shape)
    y, last = selective_scan(
        **ours, delta_softplus=True, return_last_state=True, backend=backend
    )
    scan = mamba_ssm.ops.selective_scan_interface.selective_scan_ref
    expected, state = scan(
        **theirs, delta_softplus=True, return_last_state=True
    )
    assert_close(y, expected, 1e-5)
    assert_close(last, state, 1e-5)
    dy = torch.randn_like(y)
    y.backward(dy)
    expected.backward(dy)
    for name in NAMES:
        assert_close(ours[name].grad, theirs[name].grad, 1e-4)


@pytest.mark.parametrize('backend', BACKENDS)
def test_gradcheck(backend):
    """Numerical derivatives, over the border of a chunk."""
    tensors = inputs(1, 2, 66, 2, dtype=torch.float64)
    short = {k: v for k, v in tensors.items() if k not in ('z', 'delta_bias')}

    def scan(*values):
        return selective_scan(
            **dict(zip(short, values)), delta_softplus=True, backend=backend
        )

    assert torch.autograd.gradcheck(
        scan, tuple(short.values()), fast_mode=True
    )


@pytest.mark.parametrize('backend', BACKENDS)
def test_without_options(backend):
    """delta as it is, no skip, no gate."""
    tensors = inputs(2, 16, 30, 4)
    few = {k: tensors[k].detach() for k in NAMES[:5]}
    few['delta'] = few['delta'].abs()
    y = selective_scan(**few, backend=backend)
    assert_close(y, reference(**few)[0], 1e-5)


@pytest.mark.parametrize('backend', BACKENDS)
def test_long_sequence_and_extreme_steps(backend):
    """L = 6400; steps from nothing to decays far below the least float."""
    tensors = inputs(1, 16, 6400, 16)
    tensors = {k: v.detach() for k, v in tensors.items()}
    tensors['delta'] = torch.linspace(-60, 60, 6400).expand(1, 16, -1)
    tensors['A'] = tensors['A'] * 50
    tensors['u'].requires_grad_()
    y = selective_scan(**tensors, delta_softplus=True, backend=backend)
    y.sum().backward()
    assert y.isfinite().all() and tensors['u'].grad.isfinite().all()
    exact = {k: v.detach().double() for k, v in tensors.items()}
    assert_close(y, reference(**exact, delta_softplus=True)[0], 1e-5)


@pytest.mark.parametrize('backend', BACKENDS)
def test_bfloat16__as_float32_of_the_same_numbers(backend):
    """States are float32, so that only the output is rounded, to 8 bits."""
    half = inputs(2, 16, 200, 16, dtype=torch.bfloat16)
    full = {k: v.detach().float() for k, v in half.items()}
    with torch.autocast('cpu', torch.bfloat16):
        y = selective_scan(**half, delta_softplus=True, backend=backend)
    assert y.dtype == torch.bfloat16
    expected = selective_scan(**full, delta_softplus=True, backend=backend)
    assert torch.equal(y, expected.bfloat16())
    y.sum().backward()
    assert half['delta'].grad.dtype == torch.bfloat16


@pytest.mark.parametrize('backend', BACKENDS)
def test_saved_memory_grows_with_length_and_channels_alone(backend):
    """N = 16: below 2 L D numbers beside the inputs, not 16 L D."""
    tensors = inputs(1, 64, 4000, 16)
    own = {x.data_ptr() for x in tensors.values()}
    saved = {}

    def pack(x):
        if x.data_ptr() not in own:
            saved[x.data_ptr()] = x.numel()
        return x

    few = {k: tensors[k] for k in ('u', 'delta', 'A', 'B', 'C')}
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        selective_scan(**few, backend=backend)
    # B and C are kept in another order: 2 x 4000 x 16; u and delta too
    assert 0 < sum(saved.values()) < 4 * 4000 * 64


def test_mistakes(monkeypatch):
    tensors = inputs(1, 16, 4, 2)
    with monkeypatch.context() as patch:
        module = sys.modules[selective_scan.__module__]
        patch.setattr(module, 'load_ops', lambda: False)
        with pytest.raises(InputError, match='is not compiled here'):
            selective_scan(**tensors, backend='cpp')
    with pytest.raises(InputError, match='must be one of'):
        selective_scan(**tensors, backend='triton')
    tensors['C'] = tensors['C'][:, :1]
    with pytest.raises(InputError, match='must be real'):
        selective_scan(**tensors)
