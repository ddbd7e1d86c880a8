"""The ways over a feature map, and the block that walks them."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from dsym.errors import InputError
from dsym.models.layers.scan2d import SCANS, Scan2D, order_of

CPU = torch.device('cpu')


@pytest.mark.parametrize('size', [(4, 6), (2, 2)])
@pytest.mark.parametrize('scan', SCANS)
def test_every_order_comes_back(scan, size):
    x = torch.arange(size[0] * size[1]) + 100
    for walk in SCANS[scan]:
        order = order_of(walk, torch.Size(size), CPU)
        assert torch.equal(x[order.places][order.tokens], x)


def test_tokens_of_a_map():
    """A map of 2 x 4 places, numbered by rows."""
    walked = {}
    for scan, walks in SCANS.items():
        orders = [order_of(walk, torch.Size((2, 4)), CPU) for walk in walks]
        walked[scan] = [x.places.view(-1, x.length).tolist() for x in orders]
    rows, columns = [*range(8)], [0, 4, 1, 5, 2, 6, 3, 7]
    assert walked['bidirectional'] == [[rows], [rows[::-1]]]
    assert walked['cross'] == [
        [rows], [columns], [rows[::-1]], [columns[::-1]],
    ]  # fmt: skip
    # even rows and even columns; even, odd; odd, even; odd, odd
    assert walked['strided'] == [[[0, 2], [1, 3], [6, 4], [7, 5]]]


@pytest.mark.parametrize('size', [(4, 6), (5, 3), (1, 1)])
@pytest.mark.parametrize('scan', SCANS)
def test_values__of_slices_walked_one_by_one(scan, size):
    """Also of maps with an odd row or column, which are padded by zeros."""
    torch.manual_seed(0)
    block = Scan2D(4, scan, d_state=4, expand=1)
    x = torch.randn(2, 4, *size, requires_grad=True)
    rows = block.norm(x.permute(0, 2, 3, 1))
    rows = F.pad(rows, (0, 0, 0, size[1] % 2, 0, size[0] % 2))
    mixed = []
    walks = SCANS[scan]
    if scan == 'strided':
        mixed = [torch.zeros_like(rows)]
        for i, walk in enumerate(SCANS['cross']):
            part = rows[:, i // 2 :: 2, i % 2 :: 2]
            found = by_hand(part, walk, block.mixers[0])
            mixed[0][:, i // 2 :: 2, i % 2 :: 2] = found
    else:
        rows = rows[:, : size[0], : size[1]]
        mixed = [by_hand(rows, *x) for x in zip(walks, block.mixers)]
    mean = torch.stack(mixed).mean(0)[:, : size[0], : size[1]]
    expected = x + mean.permute(0, 3, 1, 2)
    y, dy = block(x), torch.randn(x.shape)
    torch.testing.assert_close(y, expected, rtol=1e-5, atol=1e-6)
    names = (x, *block.parameters())
    ours = torch.autograd.grad(y, names, dy)
    for found, wanted in zip(ours, torch.autograd.grad(expected, names, dy)):
        torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def by_hand(rows, walk, mixer):
    """Token by token, each put where the walk found its number."""
    batch, height, width, channels = rows.shape
    numbers = walk(np.arange(height * width).reshape(height, width))[0]
    tokens = rows.reshape(batch, -1, channels)
    out = mixer(torch.stack([tokens[:, n] for n in numbers], 1)).unbind(1)
    places = dict(zip(numbers.tolist(), out))
    ordered = torch.stack([places[n] for n in range(height * width)], 1)
    return ordered.view(rows.shape)


@pytest.mark.parametrize(
    ('scan', 'reached'),
    [
        # Everything before and after it in the raster.
        ('bidirectional', 25),
        ('cross', 25),
        # Of its own grid, rows 0, 2, 4 and columns 0, 2, 4, what comes before
        # it by rows, and itself.
        ('strided', 5),
    ],
)
def test_reach_of_the_middle(scan, reached):
    """Places of a 5 x 5 map whose value changes that of some other place."""
    torch.manual_seed(0)
    block = Scan2D(4, scan, d_state=4, expand=1)
    x = torch.randn(1, 4, 5, 5, requires_grad=True)
    middle = block(x)[0, :, 2, 2].sum()
    (gradient,) = torch.autograd.grad(middle, x)
    assert (gradient[0].abs().sum(0) > 0).sum() == reached


def test_residual():
    """Without its outer projection a block changes nothing."""
    block = Scan2D(4, 'cross', d_state=2)
    for mixer in block.mixers:
        torch.nn.init.zeros_(mixer.out_proj.weight)
    x = torch.randn(2, 4, 3, 5)
    assert torch.equal(block(x), x)


@pytest.mark.parametrize('zero_init', [True, False])
def test_start(zero_init):
    """Nothing is added to the map at first, or as much as Mamba adds."""
    block = Scan2D(4, 'strided', zero_init, d_state=2)
    block.init_weights()
    x = torch.randn(2, 4, 3, 5)
    assert torch.equal(block(x), x) == zero_init


def test_unknown_scan():
    with pytest.raises(InputError, match="scan='spiral' of Scan2D"):
        Scan2D(4, 'spiral')
