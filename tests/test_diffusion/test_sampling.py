"""ddim_paint: eq 15 by hand, from noise and from a draft."""

import pytest
import torch
from diffusers import DDPMScheduler

from dsym.diffusion.sampling import ddim_paint
from dsym.errors import InputError

SHAPE = 2, 1, 4, 4


class Says:
    """A model of a line; notes at which steps it was asked."""

    def __init__(self):
        self.steps = []

    def __call__(self, x, step):
        self.steps.append(int(step))
        return 0.3 * x + 0.1


@pytest.fixture
def scheduler():
    return DDPMScheduler(1000, beta_schedule='squaredcos_cap_v2')


@pytest.fixture
def noise():
    torch.manual_seed(0)
    return torch.randn(SHAPE)


@pytest.fixture
def draft():
    return torch.linspace(-1, 1, 32).view(SHAPE)


def by_hand(scheduler, x, steps):
    alphas = scheduler.alphas_cumprod
    for i, t in enumerate(steps):
        a = alphas[t]
        last = i + 1 == len(steps)
        before = torch.ones(()) if last else alphas[steps[i + 1]]
        eps = 0.3 * x + 0.1
        x0 = ((x - (1 - a).sqrt() * eps) / a.sqrt()).clamp(-1, 1)
        x = before.sqrt() * x0 + (1 - before).sqrt() * eps
    return x


@pytest.mark.parametrize(
    'strength, steps',
    [
        (1.0, [750, 500, 250, 0]),
        (0.75, [500, 250, 0]),
        (0.5, [250, 0]),
        (0.25, [0]),
    ],
)
def test_draft__is_hidden_as_at_the_first_step(
    scheduler, noise, draft, strength, steps
):
    says = Says()
    found = ddim_paint(says, scheduler, noise, 4, draft, strength)
    assert says.steps == steps
    a = scheduler.alphas_cumprod[steps[0]]
    begin = a.sqrt() * draft + (1 - a).sqrt() * noise
    expected = by_hand(scheduler, begin, steps)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_no_draft__begins_with_noise_whatever_the_strength(scheduler, noise):
    says = Says()
    found = ddim_paint(says, scheduler, noise, 4, strength=0.5)
    assert says.steps == [750, 500, 250, 0]
    expected = by_hand(scheduler, noise, says.steps)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_little_strength__stays_near_the_draft(scheduler, noise, draft):
    """At the step t = 0 of the schedule noise is 0.6% of an image."""
    found = ddim_paint(Says(), scheduler, noise, 4, draft, 0.25)
    assert (found - draft).abs().max() < 0.05


@pytest.mark.parametrize('strength', [0.0, 0.1, -0.5, 1.5])
def test_strength__that_leaves_no_step_is_refused(
    scheduler, noise, draft, strength
):
    with pytest.raises(InputError, match=f'strength={strength}'):
        ddim_paint(Says(), scheduler, noise, 4, draft, strength)


def test_velocity__begins_at_the_noisiest_step(noise):
    """arXiv:2305.08891: 999 of 1,000, and not 750 for four steps."""
    scheduler = DDPMScheduler(
        1000,
        beta_schedule='squaredcos_cap_v2',
        prediction_type='v_prediction',
    )
    says = Says()
    ddim_paint(says, scheduler, noise, 4)
    assert says.steps == [999, 749, 499, 249]


@pytest.mark.parametrize(
    ('strength', 'steps'), [(1.0, [999, 749, 499, 249]), (0.5, [499, 249])]
)
def test_velocity__by_hand(noise, draft, strength, steps):
    """x0 = sqrt(a) x - sqrt(1 - a) v, eps = sqrt(a) v + sqrt(1 - a) x."""
    scheduler = DDPMScheduler(
        1000,
        beta_schedule='squaredcos_cap_v2',
        prediction_type='v_prediction',
    )
    says = Says()
    begin = draft if strength < 1 else None
    found = ddim_paint(says, scheduler, noise, 4, begin, strength)
    assert says.steps == steps
    alphas = scheduler.alphas_cumprod
    x, a = noise, alphas[steps[0]]
    if begin is not None:
        x = a.sqrt() * draft + (1 - a).sqrt() * noise
    for t in steps:
        a = alphas[t]
        before = torch.ones(()) if t == steps[-1] else alphas[t - 250]
        v = 0.3 * x + 0.1
        x0 = (a.sqrt() * x - (1 - a).sqrt() * v).clamp(-1, 1)
        eps = a.sqrt() * v + (1 - a).sqrt() * x
        x = before.sqrt() * x0 + (1 - before).sqrt() * eps
    torch.testing.assert_close(found, x, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize('num_steps', [60, 61, 103, 122])
def test_v__as_many_steps_as_asked_for(noise, num_steps):
    """1000 / 61 is rounded so that diffusers adds a step -1."""
    scheduler = DDPMScheduler(1000, prediction_type='v_prediction')
    says = Says()
    ddim_paint(says, scheduler, noise, num_steps)
    assert len(says.steps) == num_steps
    assert says.steps[0] == 999 and min(says.steps) >= 0
