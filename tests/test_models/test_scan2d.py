"""The ways over a feature map, and the block that walks them."""

import pytest
import torch

from dsym.errors import InputError
from dsym.models.layers.scan2d import SCANS, Scan2D


@pytest.mark.parametrize('size', [(4, 6), (5, 3), (1, 1)])
@pytest.mark.parametrize('scan', SCANS)
def test_every_order_comes_back(scan, size):
    x = torch.arange(2 * size[0] * size[1] * 3.0).view(2, *size, 3)
    for order in SCANS[scan]:
        assert torch.equal(order.to_map(order.to_tokens(x), x.shape), x)


def test_tokens_of_a_map():
    """A map of 2 x 4 places, numbered by rows."""
    x = torch.arange(8).view(1, 2, 4, 1)
    walked = {
        scan: [order.to_tokens(x)[..., 0].tolist() for order in orders]
        for scan, orders in SCANS.items()
    }
    rows, columns = [*range(8)], [0, 4, 1, 5, 2, 6, 3, 7]
    assert walked['bidirectional'] == [[rows], [rows[::-1]]]
    assert walked['cross'] == [
        [rows], [columns], [rows[::-1]], [columns[::-1]],
    ]  # fmt: skip
    # even rows and even columns; even, odd; odd, even; odd, odd
    assert walked['strided'] == [[[0, 2], [1, 3], [6, 4], [7, 5]]]


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
