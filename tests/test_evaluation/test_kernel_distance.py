import numpy as np
import pytest
import torch

from dsym.evaluation.kernel_distance import (
    kernel_distance,
    kernel_distance_spread,
)


def test_kernel_distance__is_eq_4_of_the_kid_paper():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(7, 5)), rng.normal(0.5, 1, size=(4, 5))

    def k(a, b):
        return (a @ b / 5 + 1) ** 3

    expected = sum(k(x[i], x[j]) for i in range(7) for j in range(7) if i != j)
    expected /= 7 * 6
    others = sum(k(y[i], y[j]) for i in range(4) for j in range(4) if i != j)
    expected += others / (4 * 3)
    expected -= 2 * sum(k(a, b) for a in x for b in y) / (7 * 4)
    got = kernel_distance(torch.from_numpy(x), torch.from_numpy(y))
    assert got == pytest.approx(expected)


def test_kernel_distance__by_hand():
    """Two equal rows each: ``(1 + 1)^3 + (4 + 1)^3 - 2 (2 + 1)^3``."""
    x, y = torch.ones(2, 1), torch.full((2, 1), 2.0)
    assert kernel_distance(x, y) == 8 + 125 - 2 * 27


def test_spread__tells_distributions_apart():
    torch.manual_seed(0)
    x, y, z = torch.randn(200, 8), torch.randn(200, 8), torch.randn(200, 8) + 1
    near, spread = kernel_distance_spread(x, y)
    far, _ = kernel_distance_spread(x, z)
    assert abs(near) < 2 * spread < far
