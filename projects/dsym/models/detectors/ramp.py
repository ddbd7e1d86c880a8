import math


def gaussian_ramp(step: int, num_steps: int) -> float:
    """Rise of the weight of the unsupervised losses (arXiv:1610.02242).

    ``exp(-5 (1 - t)^2)`` with ``t = step / num_steps``: 0.7% of the final
    weight at first, when the student would follow noise, 29% half-way.

    Args:
        step (int): Unsupervised steps that are done.
        num_steps (int): Steps over which it rises; 0 is at once.

    Returns:
        float: Share of the final weight, 1 from ``num_steps`` on.
    """
    if step >= num_steps:
        return 1.0
    return math.exp(-5 * (1 - step / num_steps) ** 2)
