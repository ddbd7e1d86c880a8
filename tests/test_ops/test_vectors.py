"""Functions of the C++ operators' vectors."""

import pytest
import torch

from dsym.ops import load_ops

pytestmark = pytest.mark.skipif(
    not load_ops(), reason='no C++ compiler or ninja here'
)


def test_exp2():
    """By 2 ulp; nothing below 2^-126, no more than 2^127."""
    vector = torch.full((torch.ops.dsym.vector_bytes() // 4,), -200.0)

    def exp2(x):
        vector[-1] = x  # the others are nothing
        return torch.ops.dsym.sum_exp2(vector, 1)

    for x in torch.linspace(-125.9, 126.9, 1001).tolist():
        assert exp2(x) == pytest.approx(2**x, rel=2 * 2**-23, abs=0)
    assert exp2(-127.0) == exp2(float('-inf')) == 0
    assert exp2(300.0) == 2.0**127


def test_softplus():
    """Of one scan's steps; an exponent x is rounded by |x| 2^-24."""
    raw = torch.cat([torch.linspace(-80, 80, 3199), torch.tensor([0.0])])
    rows, one = raw.view(50, 1, 64), torch.ones(50, 1, 1, 1)
    # sequences of one token: y = step * u * B * C
    y = torch.ops.dsym.selective_scan(
        torch.ones_like(rows),
        rows,
        torch.zeros(1, 64),
        one,
        one,
        torch.zeros(64),
        None,
        torch.zeros(64),
        True,
        False,
    )[0]
    exact = torch.log1p(torch.exp(raw.double()))
    error = y.flatten().double() - exact
    assert (error.abs() <= (4 + raw.abs()) * 2**-23 * exact).all()


def test_sum_exp2__as_often_as_asked():
    powers = torch.tensor([0.0, 1.0, 2.0, 3.0] * 16)
    assert torch.ops.dsym.sum_exp2(powers, 3) == 3 * 16 * (1 + 2 + 4 + 8)


def test_sum_exp2__wants_whole_vectors():
    for wrong in (torch.zeros(7), torch.zeros(16, dtype=torch.float64)):
        with pytest.raises(RuntimeError, match='whole vectors of float32'):
            torch.ops.dsym.sum_exp2(wrong, 1)
