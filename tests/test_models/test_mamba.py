"""Mamba is mamba_ssm.Mamba: the same names, shapes and values."""

import pytest
import torch
import torch.nn.functional as F
from peers.mamba_ssm_reference import find_mamba_ssm
from require_peer import require_peer

from dsym.models.layers import Mamba, causal_conv_silu
from dsym.ops import load_ops


@pytest.fixture
def peer(monkeypatch):
    """mamba-ssm's block, whose CUDA kernels give way to its own reference."""
    module = require_peer(find_mamba_ssm(), 'mamba-ssm')
    simple = module.modules.mamba_simple
    monkeypatch.setattr(
        simple,
        'selective_scan_fn',
        module.ops.selective_scan_interface.selective_scan_ref,
    )
    monkeypatch.setattr(simple, 'causal_conv1d_fn', None)

    def build(*args, **kwargs):
        return module.Mamba(*args, use_fast_path=False, **kwargs)

    return build


@pytest.mark.parametrize(
    'options',
    [
        {},
        dict(d_state=8, d_conv=3, expand=1),
        dict(dt_rank=5, conv_bias=False, bias=True),
    ],
)
def test_weights_move_both_ways(peer, options):
    torch.manual_seed(0)
    ours, theirs = Mamba(24, **options), peer(24, **options)
    assert {k: v.shape for k, v in ours.state_dict().items()} == {
        k: v.shape for k, v in theirs.state_dict().items()
    }
    x = torch.randn(2, 37, 24)
    for target, source in ((ours, theirs), (theirs, Mamba(24, **options))):
        target.load_state_dict(source.state_dict())
        torch.testing.assert_close(target(x), source(x), rtol=1e-4, atol=1e-4)


def test_initial_values(peer):
    """Rates -1 .. -N, skips 1, steps within 0.001 and 0.1."""
    ours, theirs = Mamba(24), peer(24)
    for name in ('A_log', 'D'):
        assert torch.equal(getattr(ours, name), getattr(theirs, name))
        assert getattr(ours, name)._no_weight_decay
    for block in (ours, theirs):
        steps = torch.nn.functional.softplus(block.dt_proj.bias)
        assert 0.00099 < steps.min() and steps.max() < 0.101
    bound = ours.dt_rank**-0.5
    assert ours.dt_proj.weight.abs().max() <= bound
    assert ours.dt_proj.weight.abs().max() > 0.8 * bound


def gradients(block, y):
    y.float().square().sum().backward()
    found = {name: p.grad for name, p in block.named_parameters()}
    block.zero_grad()
    return found


def test_compiled__as_it_is():
    """By PyTorch's operators: a C++ one has no meta kernel."""
    torch.manual_seed(0)
    block, x = Mamba(16, expand=0.5), torch.randn(2, 50, 16)
    expected = block(x)
    y = torch.compile(block, backend='aot_eager', fullgraph=True)(x)
    torch.testing.assert_close(y, expected, rtol=1e-4, atol=1e-5)
    ours = gradients(block, y)
    for name, gradient in gradients(block, expected).items():
        error = (ours[name] - gradient).abs().max()
        assert error <= 1e-4 * gradient.abs().max(), name


def test_autocast__as_float32():
    """Of the greatest value: bfloat16 has 8 bits, states are float32."""
    torch.manual_seed(0)
    block, x = Mamba(24), torch.randn(2, 200, 24)
    expected = block(x)
    with torch.autocast('cpu', torch.bfloat16):
        y = block(x)
    assert y.dtype == torch.bfloat16
    assert (y - expected).abs().max() <= 2**-6 * expected.abs().max()
    ours = gradients(block, y)
    for name, gradient in gradients(block, expected).items():
        assert ours[name].dtype == torch.float32
        error = (ours[name] - gradient).abs().max()
        assert error <= 2**-4 * gradient.abs().max(), name


@pytest.mark.skipif(not load_ops(), reason='no C++ compiler or ninja here')
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ('length', 'width', 'bias'),
    [(1, 4, True), (3, 4, False), (129, 3, True), (300, 2, True)],
)
def test_causal_conv__of_pytorch(length, width, bias, dtype):
    """The operator on a slice of more channels, across its parts of 128."""
    torch.manual_seed(0)
    conv = torch.nn.Conv1d(
        32, 32, width, groups=32, padding=width - 1, bias=bias
    ).to(dtype)
    both = torch.randn(2, length, 64, dtype=dtype, requires_grad=True)
    x = both.chunk(2, -1)[1]
    y, dy = causal_conv_silu(x, conv), torch.randn(2, length, 32, dtype=dtype)
    expected = F.silu(conv(x.transpose(1, 2))[..., :length]).transpose(1, 2)
    tolerance = dict(rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(y, expected, **tolerance)
    inputs = (both, *conv.parameters())
    ours = torch.autograd.grad(y, inputs, dy)
    for found, wanted in zip(ours, torch.autograd.grad(expected, inputs, dy)):
        torch.testing.assert_close(found, wanted, **tolerance)


@pytest.mark.skipif(not load_ops(), reason='no C++ compiler or ninja here')
def test_causal_conv__other_channels_by_pytorch():
    """5 are no whole vector anywhere."""
    conv = torch.nn.Conv1d(5, 5, 4, groups=5, padding=3)
    x = torch.randn(2, 7, 5)
    expected = F.silu(conv(x.transpose(1, 2))[..., :7]).transpose(1, 2)
    assert torch.equal(causal_conv_silu(x, conv), expected)
    with pytest.raises(RuntimeError, match='channels in multiples of'):
        torch.ops.dsym.causal_conv_silu(x, torch.ones(4, 5), torch.ones(5))
