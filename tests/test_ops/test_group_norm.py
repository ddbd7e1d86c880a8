"""The C++ group norm against PyTorch's own in double precision."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from dsym.ops import InferenceGroupNorm, build

pytestmark = pytest.mark.skipif(
    not build.load_ops(), reason='no C++ compiler or ninja here'
)


def norm_of(groups, channels):
    torch.manual_seed(0)
    norm = nn.GroupNorm(groups, channels, eps=1e-6).requires_grad_(False)
    nn.init.normal_(norm.weight, 1, 0.2)
    nn.init.normal_(norm.bias)
    return norm


def features(shape, dtype):
    x = (torch.randn(shape) * 2 + 5).to(dtype)
    return x.contiguous(memory_format=torch.channels_last)


# float32: sums of 1e5 terms; a bfloat16 has 8 bits
@pytest.mark.parametrize(
    ('dtype', 'rtol'), [(torch.float32, 2e-6), (torch.bfloat16, 4e-3)]
)
@pytest.mark.parametrize('silu', [True, False])
# groups within a vector, over several; blocks of rows with a rest; one row
@pytest.mark.parametrize(
    ('groups', 'shape'),
    [(8, (3, 48, 17, 13)), (2, (2, 128, 9, 9)), (16, (1, 16, 40, 40)),
     (4, (2, 32, 1, 1))],
)  # fmt: skip
def test_values(groups, shape, silu, dtype, rtol):
    norm = norm_of(groups, shape[1])
    x = features(shape, dtype)
    module = InferenceGroupNorm(norm, silu)
    with torch.no_grad():
        assert module.can_fuse(x)
        y = module(x)
    expected = F.group_norm(
        x.double(), groups, norm.weight.double(), norm.bias.double(), norm.eps
    )
    expected = F.silu(expected) if silu else expected
    assert y.dtype == dtype
    assert y.is_contiguous(memory_format=torch.channels_last)
    error = (y.double() - expected).abs().max()
    assert error <= rtol * expected.abs().max()


def test_values__of_a_mean_far_above_the_deviation():
    """A thousandfold one leaves 24 - 10 bits: 1000 * 2^-24 = 6e-5 a rounding.

    The sum of plain squares would leave 24 - 20.
    """
    norm = norm_of(4, 64)
    x = torch.randn(2, 64, 32, 32) + 1000
    x = x.contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        y = InferenceGroupNorm(norm, silu=False)(x)
    expected = F.group_norm(
        x.double(), 4, norm.weight.double(), norm.bias.double(), norm.eps
    )
    assert (y.double() - expected).abs().max() <= 3e-4


@pytest.mark.parametrize(
    'x',
    [
        torch.randn(2, 48, 4, 4),  # in another order
        features((2, 24, 4, 4), torch.float64),
        features((2, 20, 4, 4), torch.float32),  # no whole vectors
    ],
    ids=['order', 'float64', 'channels'],
)
def test_elsewhere__pytorchs_own(x):
    norm = norm_of(4, x.size(1)).to(x.dtype)
    module = InferenceGroupNorm(norm)
    with torch.no_grad():
        assert not module.can_fuse(x)
        assert torch.equal(module(x), F.silu(norm(x)))


def test_a_gradient__is_pytorchs_and_never_missing():
    norm = norm_of(4, 32)
    x = features((2, 32, 4, 4), torch.float32).requires_grad_()
    module = InferenceGroupNorm(norm)
    ours, peer = (
        torch.autograd.grad(y.square().sum(), x)[0]
        for y in (module(x), F.silu(norm(x)))
    )
    assert torch.equal(ours, peer)
    with pytest.raises(RuntimeError, match='has no gradient'):
        torch.ops.dsym.group_norm(x, 4, norm.weight, norm.bias, norm.eps, True)
