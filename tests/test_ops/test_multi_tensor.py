"""The operators on many tensors against PyTorch's own functions."""

import copy

import pytest
import torch
from torch import nn

from dsym.engine.bf16_optim_wrapper import BF16OptimWrapper, clip_grad_norm_
from dsym.engine.muon_adamw import MuonAdamW
from dsym.ops import build, can_batch, clip_norm_, lerp_

pytestmark = pytest.mark.skipif(
    not build.load_ops(), reason='no C++ compiler or ninja here'
)
# a scalar, less than a vector, more than four, and channels-last
SHAPES = [(), (3,), (70,), (8, 5, 3, 3)]


def tensors(seed):
    generator = torch.Generator().manual_seed(seed)
    made = [torch.randn(shape, generator=generator) for shape in SHAPES]
    made[-1] = made[-1].contiguous(memory_format=torch.channels_last)
    return made


@pytest.mark.parametrize('max_norm', [0.5, 1e3])
def test_clip_norm__as_torch(max_norm):
    ours, peers = tensors(0), [nn.Parameter(x) for x in tensors(0)]
    for peer in peers:
        peer.grad = peer.detach().clone()
    expected = nn.utils.clip_grad_norm_(peers, max_norm)
    assert clip_norm_(ours, max_norm) == pytest.approx(expected.item(), 1e-5)
    for grad, peer in zip(ours, peers):
        torch.testing.assert_close(grad, peer.grad)


def test_clip_norm__infinite_gradient_is_told():
    grads = tensors(0)
    grads[1][0] = float('inf')
    assert clip_norm_(grads, 1.0) == float('inf')


def test_wrapper_clips_with_it():
    """And with torch's where another norm is wanted."""
    model = nn.Linear(4, 4)
    wrapper = BF16OptimWrapper(
        optimizer=torch.optim.SGD(model.parameters(), lr=0.1),
        clip_grad=dict(max_norm=1.0),
        enabled=False,
    )
    assert wrapper.clip_func is clip_grad_norm_
    parameters = list(model.parameters())
    for parameter in parameters:
        parameter.grad = torch.full_like(parameter, 3.0)
    # 20 entries of 3: infinity norm 3, 2-norm 3 sqrt(20)
    norm = clip_grad_norm_(parameters, 6.0, norm_type=float('inf'))
    assert norm == pytest.approx(3.0)
    assert clip_grad_norm_(parameters, 1.0) == pytest.approx(3 * 20**0.5)
    assert parameters[0].grad[0, 0].item() == pytest.approx(20**-0.5)


def test_lerp():
    ours, sources = tensors(1), tensors(2)
    peers = copy.deepcopy(ours)
    lerp_(ours, sources, 0.3)
    torch._foreach_lerp_(peers, sources, 0.3)
    for our, peer in zip(ours, peers):
        torch.testing.assert_close(our, peer)


def test_other_memory_order_is_refused():
    ours = [torch.zeros(2, 3, 4, 4)]
    sources = [torch.ones(2, 3, 4, 4).to(memory_format=torch.channels_last)]
    with pytest.raises(RuntimeError, match='one memory order'):
        lerp_(ours, sources, 0.5)


def test_what_it_does_not_take():
    assert can_batch(tensors(0), tensors(1))
    assert not can_batch([torch.zeros(2, dtype=torch.float64)])
    assert not can_batch([torch.zeros(2), torch.zeros(2).to_sparse()])


@pytest.mark.parametrize('order', [torch.channels_last, torch.preserve_format])
def test_muon__the_same_with_and_without(order, monkeypatch):
    """Wide, tall and two of one shape; gradients in NCHW order."""
    torch.manual_seed(0)
    start = [torch.randn(s) for s in ((6, 5, 3, 3), (40, 7, 1, 1))]
    start += [torch.randn(6, 5, 3, 3), torch.randn(9, 12)]
    start = [
        x.contiguous(memory_format=order) if x.ndim == 4 else x for x in start
    ]
    grads = [[torch.randn(x.shape) for x in start] for _ in range(3)]

    def train():
        layers = [nn.Parameter(x.clone()) for x in start]
        optimizer = MuonAdamW(
            [dict(params=layers, is_hidden=True)], lr=0.1, weight_decay=0.1
        )
        for step in grads:
            for layer, grad in zip(layers, step):
                layer.grad = grad.clone()
            optimizer.step()
        return layers

    fused = train()
    monkeypatch.setattr('dsym.engine.muon_adamw.can_batch', lambda *_: False)
    for ours, peer, begin in zip(fused, train(), start):
        assert (peer - begin).norm() > 0.1
        torch.testing.assert_close(ours, peer, rtol=1e-4, atol=1e-4)
