"""The C++ operators against PyTorch's own batch norm and SiLU."""

import pytest
import torch
import torch.nn.functional as F
from mmcv.cnn import ConvModule
from torch import nn

from dsym.models.layers import ConvBNSiLU, RepConvN
from dsym.ops import bn2_silu, bn_silu, build, can_fuse

pytestmark = pytest.mark.skipif(
    not build.load_ops(), reason='no C++ compiler or ninja here'
)


def features(*shape, dtype=torch.float32):
    x = torch.randn(shape) * 2 + 0.5
    x = x.to(dtype).contiguous(memory_format=torch.channels_last)
    return x.requires_grad_()


def norm_layer(channels):
    norm = nn.BatchNorm2d(channels, eps=1e-3, momentum=0.03)
    nn.init.normal_(norm.weight, 1, 0.2)
    nn.init.normal_(norm.bias)
    return norm


def assert_same(ours, peer, rtol):
    """Of all pairs, the greatest difference in parts of the greatest value."""
    for our, expected in zip(ours, peer):
        expected = expected.float()
        error = (our.float() - expected).abs().max()
        assert error <= rtol * expected.abs().max()


# 1e-5: float32 sums of 1e4 terms. 2e-2: a bfloat16 has 8 bits, and PyTorch
# rounds twice where the operator rounds once.
@pytest.mark.parametrize(
    ('dtype', 'rtol'), [(torch.float32, 1e-5), (torch.bfloat16, 2e-2)]
)
# whole tiles, folded rows (24 x 4, 6 x 16), three tiles
@pytest.mark.parametrize(
    'shape', [(2, 64, 9, 7), (4, 24, 8, 5), (16, 6, 5, 3), (2, 96, 3, 2)]
)
@pytest.mark.parametrize('inputs', [1, 2])
def test_values_gradients_and_statistics(inputs, shape, dtype, rtol):
    torch.manual_seed(0)
    x = [features(*shape, dtype=dtype) for _ in range(inputs)]
    norms = [norm_layer(shape[1]) for _ in range(inputs)]
    peers = [norm_layer(shape[1]) for _ in range(inputs)]
    for norm, peer in zip(norms, peers):
        peer.load_state_dict(norm.state_dict())
    assert all(can_fuse(a, norm) for a, norm in zip(x, norms))

    # the reference in double, on the same rounded inputs
    exact = [a.detach().double().requires_grad_() for a in x]
    doubles = [peer.double() for peer in peers]
    expected = F.silu(sum(peer(a) for peer, a in zip(doubles, exact)))
    pairs = [part for pair in zip(x, norms) for part in pair]
    y = (bn_silu if inputs == 1 else bn2_silu)(*pairs)
    assert y.dtype == dtype
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert_same([y], [expected], rtol)

    dy = torch.randn(shape).to(dtype)  # NCHW, as a cat may give it
    y.backward(dy)
    expected.backward(dy.double())
    for a, b in zip(x, exact):
        assert a.grad.dtype == dtype
        assert_same([a.grad], [b.grad], rtol)
    for norm, peer in zip(norms, doubles):
        assert_same(
            [norm.weight.grad, norm.bias.grad],
            [peer.weight.grad, peer.bias.grad],
            rtol,
        )
        assert_same(
            [norm.running_mean, norm.running_var],
            [peer.running_mean, peer.running_var],
            1e-5,
        )
        assert norm.num_batches_tracked == peer.num_batches_tracked == 1


@pytest.mark.parametrize(
    ('mean', 'std', 'rtol'), [(100, 1, 1e-4), (1000, 1, 1e-3), (9, 0.01, 1e-3)]
)
def test_values_far_from_zero(mean, std, rtol):
    torch.manual_seed(0)
    x = (std * torch.randn(4, 64, 20, 20) + mean).contiguous(
        memory_format=torch.channels_last
    )
    x.requires_grad_()
    norm, peer = norm_layer(64), norm_layer(64)
    peer.load_state_dict(norm.state_dict())
    peer.double()
    exact = x.detach().double().requires_grad_()
    y, expected = bn_silu(x, norm), F.silu(peer(exact))
    dy = torch.randn_like(y)
    y.backward(dy)
    expected.backward(dy.double())
    assert_same([y, x.grad], [expected, exact.grad], rtol)
    assert_same([norm.weight.grad], [peer.weight.grad], rtol)
    assert_same([norm.running_var], [peer.running_var], 1e-5)


def test_large_values_do_not_overflow():
    norm = norm_layer(32)
    norm.bias.data.copy_(torch.linspace(-200, 200, 32))
    x = features(2, 32, 4, 4)
    y = bn_silu(x, norm)
    y.sum().backward()
    assert y.isfinite().all() and x.grad.isfinite().all()
    assert y[:, 0].abs().max() < 1e-30  # silu(-200) = -200 e^-200
    # silu(200) = 200
    assert (y[:, 31] - 200).abs().max() < 10


def test_what_it_does_not_take():
    norm = norm_layer(24)
    assert can_fuse(features(4, 24, 2, 2), norm)
    assert not can_fuse(features(4, 24, 2, 2).contiguous(), norm)  # NCHW
    assert not can_fuse(features(3, 24, 1, 1).expand(3, 24, 1, 1), norm)
    assert not can_fuse(features(4, 24, 2, 2).double(), norm)
    assert not can_fuse(features(4, 24, 2, 2), norm.eval())
    assert not can_fuse(features(4, 24, 2, 2), nn.SyncBatchNorm(24))
    # one value a channel has no variance
    assert not can_fuse(features(1, 32, 1, 1), norm_layer(32))
    # 8 rows of 20 make whole tiles of 32, 4 of 16, 2 of 8
    with pytest.raises(RuntimeError, match=r'multiple of [842] at 20 channel'):
        bn_silu(features(1, 20, 3, 1), norm_layer(20))


@pytest.mark.parametrize('build_layer', [ConvBNSiLU, RepConvN])
def test_layers__the_same_with_and_without(build_layer, monkeypatch):
    """Training: the operator's way; without it, PyTorch's; eval: one way."""
    torch.manual_seed(0)
    cfg = dict(norm_cfg=dict(type='BN'), act_cfg=dict(type='SiLU'))
    size = {} if build_layer is RepConvN else dict(kernel_size=3, padding=1)
    layer = build_layer(8, 16, **size, **cfg)
    layer.to(memory_format=torch.channels_last)
    x = features(4, 8, 6, 6)
    start = {k: v.clone() for k, v in layer.state_dict().items()}

    def step():
        layer.load_state_dict(start)
        layer.zero_grad()
        y = layer(x)
        y.square().sum().backward()
        grads = [p.grad.clone() for p in layer.parameters()]
        return y, grads, y.grad_fn.name()

    fused, fused_grads, name = step()
    assert 'BNSiLU' in name
    monkeypatch.setattr('dsym.ops.fused_norm.load_ops', lambda: False)
    plain, plain_grads, name = step()
    assert 'Silu' in name
    torch.testing.assert_close(fused, plain, rtol=1e-5, atol=1e-5)
    for a, b in zip(fused_grads, plain_grads):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
    layer.eval()
    if build_layer is ConvBNSiLU:
        twin = ConvModule(8, 16, **size, **cfg).eval()
        twin.load_state_dict(layer.state_dict())
        torch.testing.assert_close(layer(x), twin(x))


@pytest.mark.parametrize('inputs', [1, 2])
def test_second_derivative__is_refused(inputs):
    """It would be taken for zero."""
    x, norm = features(2, 32, 4, 4), norm_layer(32)
    args = (x, norm) * inputs
    y = (bn_silu if inputs == 1 else bn2_silu)(*args)
    with pytest.raises(RuntimeError, match='no second derivative'):
        torch.autograd.grad(y.sum(), x, create_graph=True)
