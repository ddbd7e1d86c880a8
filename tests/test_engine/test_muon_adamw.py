"""MuonAdamW against torch's own Muon and AdamW."""

import copy

import pytest
import torch
from mmengine.optim import build_optim_wrapper
from torch import nn

from dsym.engine.muon_adamw import MuonAdamW, orthogonalize
from dsym.errors import InputError


def test_orthogonalize__singular_values_and_vectors():
    generator = torch.Generator().manual_seed(0)
    for shape in ((3, 8, 20), (2, 30, 12)):
        matrices = torch.randn(shape, generator=generator)
        left, _, right = torch.linalg.svd(matrices, full_matrices=False)
        found = orthogonalize(matrices)
        values = torch.linalg.svdvals(found)
        # the iteration's own bounds: it does not converge to 1
        assert 0.6 < values.min() and values.max() < 1.25
        expected = left @ right
        cosine = (found * expected).sum() / found.norm() / expected.norm()
        assert cosine > 0.97


def test_orthogonalize__as_the_plain_iteration():
    """Also of gradients of low rank, whose Gram matrix is singular."""
    generator = torch.Generator().manual_seed(0)
    left = torch.randn(4, 24, 24, generator=generator)
    right = torch.randn(4, 24, 90, generator=generator)
    scales = torch.ones(4, 24)
    scales[1] = torch.logspace(0, -6, 24)
    scales[2, 3:] = 0
    scales[3] *= 1e-5
    matrices = left * scales[:, None] @ right
    x = matrices.double()
    x = x / x.norm(dim=(-2, -1), keepdim=True)
    for _ in range(5):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.775 * gram + 2.0315 * gram @ gram) @ x
    found = orthogonalize(matrices).double()
    assert ((found - x).norm(dim=(-2, -1)) < 1e-3 * 24**0.5).all()


@pytest.mark.skipif(
    not hasattr(torch.optim, 'Muon'), reason='torch before 2.9 has no Muon'
)
def test_matrices__as_torchs_muon():
    """Three steps; torch iterates in bfloat16, which has 8 bits."""
    generator = torch.Generator().manual_seed(0)
    start = [torch.randn(s, generator=generator) for s in ((8, 20), (30, 8))]
    ours = [nn.Parameter(s.clone()) for s in start]
    peers = [nn.Parameter(s.clone()) for s in start]
    settings = dict(lr=0.02, weight_decay=0.1)
    optimizers = (
        MuonAdamW([dict(params=ours, is_hidden=True)], **settings),
        torch.optim.Muon(peers, adjust_lr_fn='match_rms_adamw', **settings),
    )
    for _ in range(3):
        grads = [torch.randn(s.shape, generator=generator) for s in start]
        for parameters, optimizer in zip((ours, peers), optimizers):
            for parameter, grad in zip(parameters, grads):
                parameter.grad = grad.clone()
            optimizer.step()
    for ours_, peer, begin in zip(ours, peers, start):
        moved = (peer - begin).norm()
        assert (ours_ - peer).norm() < 0.02 * moved


def model_and_optimizer(**kwargs):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(2, 8, 3, bias=False),
        nn.BatchNorm2d(8),
        nn.Conv2d(8, 4, 1),
    )
    model.to(memory_format=torch.channels_last)
    wrapper = build_optim_wrapper(
        model,
        dict(
            type='OptimWrapper',
            constructor='GroupedOptimWrapperConstructor',
            optimizer=dict(lr=0.05, weight_decay=0.1, **kwargs),
        ),
    )
    return model, wrapper


def test_groups_that_do_not_say_what_is_hidden():
    """All of them would be AdamW's."""
    with pytest.raises(InputError, match='GroupedOptimWrapperConstructor'):
        build_optim_wrapper(
            nn.Conv2d(2, 8, 3),
            dict(
                type='OptimWrapper', optimizer=dict(type='MuonAdamW', lr=0.05)
            ),
        )


def train(model, wrapper, steps):
    images = torch.rand(2, 2, 6, 6, generator=torch.Generator().manual_seed(1))
    for _ in range(steps):
        wrapper.update_params(model(images).square().mean())


def test_everything_but_hidden_layers__as_adamw():
    """A frozen hidden layer leaves exactly torch's AdamW."""
    results = []
    for name in ('MuonAdamW', 'AdamW'):
        model, wrapper = model_and_optimizer(type=name)
        for group in wrapper.optimizer.param_groups:
            if group['is_hidden']:
                assert [p.shape for p in group['params']] == [(8, 2, 3, 3)]
                group['params'][0].requires_grad_(False)
        train(model, wrapper, 3)
        results.append(model.state_dict())
    for name, value in results[0].items():
        assert torch.equal(value, results[1][name]), name


def test_first_step__root_mean_square():
    model, wrapper = model_and_optimizer(type='MuonAdamW', muon_rms=0.5)
    before = model[0].weight.detach().clone()
    train(model, wrapper, 1)
    step = model[0].weight - (1 - 0.05 * 0.1) * before
    # 8 orthogonal rows of 18: RMS 1/sqrt(18), scaled to 0.5, times the rate;
    # singular values lie within 0.7 and 1.2
    assert step.square().mean().sqrt().item() == pytest.approx(
        0.05 * 0.5, rel=0.3
    )
    assert model[0].weight.is_contiguous(memory_format=torch.channels_last)


def test_resumed__same_weights():
    model, wrapper = model_and_optimizer(type='MuonAdamW')
    train(model, wrapper, 2)
    resumed, other = model_and_optimizer(type='MuonAdamW')
    resumed.load_state_dict(model.state_dict())
    other.load_state_dict(copy.deepcopy(wrapper.state_dict()))
    train(model, wrapper, 2)
    train(resumed, other, 2)
    for name, value in model.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name


@pytest.mark.parametrize('order', ['contiguous_format', 'channels_last'])
def test_resumed__in_the_other_memory_order(order):
    """Of channels-last weights and states; the same steps but for rounding."""
    model, wrapper = model_and_optimizer(type='MuonAdamW')
    assert model[0].weight.is_contiguous(memory_format=torch.channels_last)
    train(model, wrapper, 2)
    resumed, other = model_and_optimizer(type='MuonAdamW')
    resumed.load_state_dict(model.state_dict())
    resumed.to(memory_format=getattr(torch, order))
    other.load_state_dict(copy.deepcopy(wrapper.state_dict()))
    train(model, wrapper, 2)
    train(resumed, other, 2)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(
            value, resumed.state_dict()[name], rtol=1e-3, atol=1e-4
        )
