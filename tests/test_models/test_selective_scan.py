"""selective_scan's backends against mamba-ssm's reference."""

import os
import subprocess
import sys

import pytest
import torch
import torch.nn.functional as F
from peers.mamba_ssm_reference import find_mamba_ssm
from require_peer import require_peer

from dsym.errors import InputError
from dsym.models.layers import choose_backend, selective_scan
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
    # unbound: the gradient of a slice would be as large as all tokens
    tokens = (x.unbind(-1) for x in (u[:, :, None], delta[:, :, None], B, C))
    for value, step, b, c in zip(*tokens):
        state = torch.exp(step * A) * state + step * b * value
        ys.append((state * c).sum(-1))
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


def reference_scan(mamba_ssm, tensors, **options):
    scan = mamba_ssm.ops.selective_scan_interface.selective_scan_ref
    return scan(**tensors, **options)


def assert_same_gradients(y, expected, ours, theirs, rtol):
    # drawn alike in every run: where the terms of a sum happen to cancel out,
    # float32 cannot be as near as its greatest value asks for
    generator = torch.Generator().manual_seed(0)
    dy = torch.randn(y.shape, generator=generator, dtype=y.dtype)
    y.backward(dy)
    expected.backward(dy.to(expected.dtype))
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert_close(ours[name].grad, theirs[name].grad, rtol)


SHAPES = [
    dict(batch=2, channels=16, length=70, states=16),
    dict(batch=1, channels=5, length=1, states=3),  # padded channels
    # a single row's stride means nothing
    dict(batch=2, channels=16, length=1, states=16),
    dict(batch=3, channels=8, length=1, states=4, groups=1),
    dict(batch=1, channels=48, length=64, states=8),  # a whole chunk
    dict(batch=3, channels=6, length=41, states=4, groups=3),
    dict(batch=2, channels=64, length=129, states=16, groups=2),
    # with several threads: an image's channels in parts, across groups
    dict(batch=1, channels=192, length=70, states=8, groups=3),
]
LONG = dict(batch=1, channels=16, length=6400, states=16)


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
    assert_same_gradients(y, expected, ours, exact, 1e-4)


@pytest.fixture(params=[1, 2, 5])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.skipif(not load_ops(), reason='no C++ compiler or ninja here')
@pytest.mark.parametrize('shape', SHAPES[3:])
def test_threads__share_the_work_alike(shape, threads):
    """The operator's blocks, parts and groups, by 1, 2 and 5 threads."""
    ours = inputs(**shape)
    exact = {k: v.detach().double().requires_grad_() for k, v in ours.items()}
    y = selective_scan(**ours, delta_softplus=True, backend='cpp')
    expected, _ = reference(**exact, delta_softplus=True)
    assert_close(y, expected, 1e-5)
    assert_same_gradients(y, expected, ours, exact, 1e-4)


@pytest.fixture(scope='module')
def mamba_ssm():
    """The package itself, whose reference functions run on a CPU."""
    return require_peer(find_mamba_ssm(), 'mamba-ssm')


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('shape', SHAPES)
def test_values_and_gradients_of_mamba_ssm(shape, backend, mamba_ssm):
    ours, theirs = inputs(**shape), inputs(**shape)
    options = dict(delta_softplus=True, return_last_state=True)
    y, last = selective_scan(**ours, **options, backend=backend)
    expected, state = reference_scan(mamba_ssm, theirs, **options)
    assert_close(y, expected, 1e-5)
    assert_close(last, state, 1e-5)
    assert_same_gradients(y, expected, ours, theirs, 1e-4)


@pytest.mark.parametrize('backend', BACKENDS)
def test_long_sequence_of_mamba_ssm(backend, mamba_ssm):
    """Narrow: each token's gradient is as large there as all states."""
    ours, theirs = (inputs(1, 2, 6400, 4) for _ in range(2))
    y = selective_scan(**ours, delta_softplus=True, backend=backend)
    expected = reference_scan(mamba_ssm, theirs, delta_softplus=True)
    assert_close(y, expected, 1e-5)
    assert_same_gradients(y, expected, ours, theirs, 1e-4)


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('without', [('z',), ('D', 'delta_bias'), NAMES[5:]])
def test_options_of_mamba_ssm(without, backend, mamba_ssm):
    """No gate; no skip and bias; none of them, and steps as they are."""
    ours, theirs = (inputs(**SHAPES[0]) for _ in range(2))
    for tensors in (ours, theirs):
        for name in without:
            del tensors[name]
        with torch.no_grad():
            tensors['delta'].abs_()
    softplus = len(without) < 3
    y = selective_scan(**ours, delta_softplus=softplus, backend=backend)
    expected = reference_scan(mamba_ssm, theirs, delta_softplus=softplus)
    assert_close(y, expected, 1e-5)
    assert_same_gradients(y, expected, ours, theirs, 1e-4)


@pytest.mark.parametrize('backend', BACKENDS)
def test_bfloat16_of_mamba_ssm(backend, mamba_ssm):
    """Its sums are float32 as well; what is rounded has 8 bits."""
    kind = dict(SHAPES[0], dtype=torch.bfloat16)
    ours, theirs = inputs(**kind), inputs(**kind)
    for tensors in (ours, theirs):
        # mamba-ssm keeps these in float32
        for name in ('A', 'D', 'delta_bias'):
            tensors[name] = tensors[name].detach().float().requires_grad_()
    y = selective_scan(**ours, delta_softplus=True, backend=backend)
    expected = reference_scan(mamba_ssm, theirs, delta_softplus=True)
    assert y.dtype == expected.dtype == torch.bfloat16
    assert_close(y, expected, 2**-7)
    assert_same_gradients(y, expected, ours, theirs, 2**-5)


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('states', [2, 8, 16])
def test_gradcheck(states, backend):
    """Numerical derivatives, over the border of a chunk."""
    tensors = inputs(1, 2, 66, states, dtype=torch.float64)

    def scan(*values):
        return selective_scan(
            **dict(zip(tensors, values)), delta_softplus=True, backend=backend
        )

    assert torch.autograd.gradcheck(
        scan, tuple(tensors.values()), fast_mode=True
    )


@pytest.mark.parametrize('backend', BACKENDS)
def test_long_sequence_and_extreme_steps(backend):
    """L = 6400; steps from nothing to decays far below the least float."""
    tensors = {k: v.detach() for k, v in inputs(**LONG).items()}
    tensors['delta'] = torch.linspace(-60, 60, 6400).repeat(1, 16, 1)
    tensors['A'] = tensors['A'] * 50
    ours = {k: v.requires_grad_() for k, v in tensors.items()}
    exact = {k: v.detach().double().requires_grad_() for k, v in ours.items()}
    y = selective_scan(**ours, delta_softplus=True, backend=backend)
    expected, _ = reference(**exact, delta_softplus=True)
    assert_close(y, expected, 1e-5)
    assert_same_gradients(y, expected, ours, exact, 1e-4)
    assert all(x.grad.isfinite().all() for x in ours.values())


@pytest.mark.parametrize('backend', BACKENDS)
def test_no_images(backend):
    ours = inputs(0, 16, 5, 4)
    y = selective_scan(**ours, backend=backend)
    assert y.shape == (0, 16, 5)
    y.sum().backward()
    assert not ours['A'].grad.any()


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


MEMORY = """
import resource, sys
import torch
from dsym.models.layers import selective_scan

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

def scan(length, states):
    D = 128
    u, delta = (torch.rand(1, D, length, requires_grad=True) for _ in 'ab')
    B, C = (torch.rand(1, states, length, requires_grad=True) for _ in 'ab')
    A = -torch.rand(D, states)
    y = selective_scan(u, delta, A, B, C, backend=sys.argv[1])
    y.sum().backward()
    return peak()

start = scan(64, 64)
few = scan(12800, 8)
print(few - start, scan(12800, 64) - few)
"""


@pytest.mark.parametrize('backend', BACKENDS)
def test_peak_memory__grows_with_length_and_channels_alone(backend):
    """Forward and backward of L = 12,800 and D = 128, which are 6.25 MiB.

    States of all tokens are 50 MiB at N = 8 and 400 at N = 64, and so are
    their gradients.
    """
    done = subprocess.run(
        [sys.executable, '-c', MEMORY, backend],
        # or freed blocks would stay in the process
        env={**os.environ, 'MALLOC_MMAP_THRESHOLD_': str(2**20)},
        capture_output=True,
        text=True,
        check=True,
    )
    few, more = map(float, done.stdout.split()[-2:])
    # inputs, outputs and gradients, and their copies in the scan's order
    assert few < 16 * 6.25
    # states of each 40th token, 10 MiB at N = 64; B, C and their gradients
    assert more < 350 / 5


@pytest.mark.parametrize(
    ('device', 'dtype', 'built', 'expected'),
    [
        ('cuda', torch.float32, True, 'mamba_ssm'),
        ('cuda', torch.bfloat16, True, 'mamba_ssm'),
        ('cuda', torch.float64, True, 'torch'),
        ('cuda', torch.float32, False, 'torch'),
        ('cpu', torch.float32, True, 'cpp'),
        ('cpu', torch.float32, False, 'torch'),
    ],
)
def test_backend__by_device_type_and_what_is_built(
    monkeypatch, device, dtype, built, expected
):
    module = sys.modules[selective_scan.__module__]
    kernel = (lambda: print) if built else (lambda: None)
    monkeypatch.setattr(module, '_fused_cuda_scan', kernel)
    monkeypatch.setattr(module, 'load_ops', lambda: built)
    assert choose_backend(torch.device(device), dtype) == expected


def test_backend__is_logged_once(monkeypatch):
    module = sys.modules[selective_scan.__module__]
    said = []
    monkeypatch.setattr(module, 'print_log', lambda text, _: said.append(text))
    monkeypatch.setattr(module, 'load_ops', lambda: False)
    module._say_once.cache_clear()
    tensors = {k: v.detach() for k, v in inputs(1, 16, 4, 2).items()}
    for _ in range(3):
        selective_scan(**tensors)
    module._say_once.cache_clear()
    assert said == [
        "selective scans on cpu: PyTorch's own operators, chunk by chunk"
    ]


def test_mamba_ssm__gets_its_documented_arguments(monkeypatch):
    module = sys.modules[selective_scan.__module__]
    monkeypatch.setattr(
        module, '_fused_cuda_scan', lambda: lambda *arguments: arguments
    )
    tensors = inputs(1, 16, 4, 2)
    given = selective_scan(
        **tensors, delta_softplus=True, return_last_state=True,
        backend='mamba_ssm',
    )  # fmt: skip
    assert all(x is y for x, y in zip(given, tensors.values()))
    assert given[8:] == (True, True)


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('name', NAMES[1:])
def test_shapes__of_each_tensor_are_checked(name, backend):
    tensors = inputs(2, 16, 4, 2)
    # what would broadcast, but for A
    tensors[name] = tensors[name][:1] if name != 'A' else tensors['A'][:5]
    with pytest.raises(InputError, match=rf'{name} is \(|B \(1'):
        selective_scan(**tensors, backend=backend)


def test_mistakes(monkeypatch):
    tensors = inputs(1, 16, 4, 2)
    with monkeypatch.context() as patch:
        module = sys.modules[selective_scan.__module__]
        patch.setattr(module, 'load_ops', lambda: False)
        with pytest.raises(InputError, match='is not compiled here'):
            selective_scan(**tensors, backend='cpp')
    with pytest.raises(InputError, match='must be one of'):
        selective_scan(**tensors, backend='triton')
    with pytest.raises(InputError, match='has no CUDA extension here'):
        selective_scan(**tensors, backend='mamba_ssm')
    tensors['A'] = tensors['A'].to(torch.complex64)
    with pytest.raises(InputError, match=r'real \(D, N\)'):
        selective_scan(**tensors)


@pytest.mark.skipif(not load_ops(), reason='no C++ compiler or ninja here')
def test_second_derivative__is_refused_by_the_operator():
    """It would be taken for zero; PyTorch's own operators have it."""
    ours = inputs(1, 16, 5, 2)
    for backend in ('cpp', 'torch'):
        y = selective_scan(**ours, backend=backend).sum()
        if backend == 'cpp':
            with pytest.raises(RuntimeError, match='no second derivative'):
                torch.autograd.grad(y, ours['u'], create_graph=True)
        else:
            (du,) = torch.autograd.grad(y, ours['u'], create_graph=True)
            assert du.requires_grad
