"""The teacher's coefficient at a step."""

import pytest
import torch
from mmengine.registry import TASK_UTILS

from dsym.errors import InputError

KINDS = ('ConstantEMA', 'WarmupEMA', 'CosineEMA', 'AdaptiveEMA')


def build(kind, **settings):
    return TASK_UTILS.build(dict(type=kind, **settings))


def test_constant():
    assert [build('ConstantEMA', alpha=0.9)(s, 50) for s in (0, 7, 50)] == [
        0.9
    ] * 3
    assert build('ConstantEMA')(0, 1) == 0.999


def test_warmup():
    """(1 + step) / (10 + step) until 0.999, which is its value at 8,990."""
    warmup = build('WarmupEMA')
    assert warmup(0, 1) == 0.1
    assert warmup(8, 1) == 0.5
    assert warmup(98, 1) == pytest.approx(99 / 108)
    assert warmup(8980, 1) < 0.999
    assert warmup(8990, 1) == pytest.approx(0.999)
    assert warmup(100000, 1) == 0.999


def test_cosine():
    """cos 0 = 1, cos 60 = 1/2, cos 90 = 0, cos 180 = -1 degrees."""
    cosine = build('CosineEMA', alpha=0.9)
    steps = {0: 0.9, 20: 0.925, 30: 0.95, 60: 1.0, 61: 1.0}
    for step, alpha in steps.items():
        assert cosine(step, 60) == pytest.approx(alpha, abs=1e-12)


def test_adaptive__usual_disagreement():
    adaptive = build('AdaptiveEMA', alpha=0.99)
    for _ in range(5):
        assert adaptive(0, 1, 0.2) == pytest.approx(0.99)


@pytest.mark.parametrize('factor', [2.0, 0.5])
def test_adaptive__other_disagreement(factor):
    """1 - alpha is multiplied with usual / disagreement."""
    adaptive = build('AdaptiveEMA', alpha=0.99, momentum=0.1)
    adaptive(0, 1, 0.2)
    # the running mean has moved by a tenth of the way
    usual = 0.2 + 0.1 * (factor * 0.2 - 0.2)
    alpha = adaptive(1, 1, torch.tensor(factor * 0.2))
    assert 1 - alpha == pytest.approx(0.01 * usual / (factor * 0.2), rel=1e-4)
    assert adaptive.usual == pytest.approx(usual)


def test_adaptive__bounds():
    """A factor of 1/3 to 3; the share of the student is never above 1."""
    for disagreement, share in ((100.0, 0.01 / 3), (0.0, 0.03)):
        adaptive = build('AdaptiveEMA', alpha=0.99, bound=3.0)
        adaptive(0, 1, 1.0)
        assert 1 - adaptive(1, 1, disagreement) == pytest.approx(share)
    adaptive = build('AdaptiveEMA', alpha=0.5, bound=3.0)
    adaptive(0, 1, 1.0)
    assert adaptive(1, 1, 0.0) == 0


def test_adaptive__state_of_a_resumed_run():
    one, other = (build('AdaptiveEMA', alpha=0.9) for _ in 'ab')
    for disagreement in (0.3, 0.1, 0.2):
        one(0, 1, disagreement)
    other.usual = one.usual
    assert one(3, 9, 0.4) == other(3, 9, 0.4)


def test_adaptive__step_without_a_comparison():
    """The coefficient is the usual one, and nothing is learnt of it."""
    adaptive = build('AdaptiveEMA', alpha=0.99)
    assert adaptive(0, 1) == 0.99
    assert adaptive.usual is None
    adaptive(1, 1, 0.2)
    adaptive(2, 1, 0.4)
    usual = adaptive.usual
    assert adaptive(3, 1) == 0.99
    assert adaptive.usual == usual


@pytest.mark.parametrize('kind', KINDS)
@pytest.mark.parametrize('alpha', [-0.1, 1.1])
def test_alpha_is_a_share(kind, alpha):
    with pytest.raises(InputError, match=f'alpha={alpha} of {kind}'):
        build(kind, alpha=alpha)
