from typing import Tuple

import torch
from torch import Tensor


def kernel_distance(first: Tensor, second: Tensor) -> float:
    """Squared MMD of two samples, KID's (arXiv:1801.01401, eqs 3 and 4).

    The kernel is ``(x y / d + 1)^3``. The estimate has no bias: of two samples
    of one distribution it is 0 on average, and below 0 as often as above.

    Args:
        first (Tensor): Features ``(N, d)``, two rows at least.
        second (Tensor): Features ``(M, d)``, two rows at least.

    Returns:
        float: The estimate.
    """
    first, second = first.double(), second.double()

    def kernel(x: Tensor, y: Tensor) -> Tensor:
        return (x @ y.T / x.shape[1] + 1) ** 3

    def mean_of_others(x: Tensor) -> Tensor:
        values = kernel(x, x)
        return (values.sum() - values.trace()) / (len(x) * (len(x) - 1))

    between = kernel(first, second).mean()
    return float(mean_of_others(first) + mean_of_others(second) - 2 * between)


def kernel_distance_spread(
    first: Tensor, second: Tensor, subsets: int = 20, seed: int = 0
) -> Tuple[float, float]:
    """Mean and standard deviation over random subsets, as KID is reported.

    Args:
        first (Tensor): Features ``(N, d)``.
        second (Tensor): Features ``(M, d)``.
        subsets (int): Number of subsets, each of half of the smaller sample.
            Defaults to 20.
        seed (int): Of the drawing. Defaults to 0.

    Returns:
        tuple[float, float]: Mean and standard deviation.
    """
    generator = torch.Generator().manual_seed(seed)
    size = max(2, min(len(first), len(second)) // 2)
    values = torch.tensor(
        [
            kernel_distance(
                *(
                    x[torch.randperm(len(x), generator=generator)[:size]]
                    for x in (first, second)
                )
            )
            for _ in range(subsets)
        ]
    )
    return float(values.mean()), float(values.std())
