from typing import Callable, Optional

from torch import Tensor

from ..errors import InputError


def ddim_paint(
    says: Callable[[Tensor, Tensor], Tensor],
    scheduler,
    noise: Tensor,
    num_steps: int,
    draft: Optional[Tensor] = None,
    strength: float = 1.0,
    bound: float = 1.0,
) -> Tensor:
    """Sample by DDIM without added noise (eq 15), from noise or a draft.

    Args:
        says (callable): From x_t ``(B, C, S, S)`` and t to the noise, or v.
        scheduler: Of diffusers, whose schedule is used.
        noise (Tensor): ``(B, C, S, S)``.
        num_steps (int): Steps from noise alone.
        draft (Tensor, optional): ``(B, C, S, S)`` from -1 to 1, hidden by as
            much noise as there is at the first step that is done. Defaults to
            None.
        strength (float): Share of the steps that are done with a draft, over
            0 to 1. Defaults to 1.
        bound (float): x_0 is clamped to it on both sides at each step.
            Defaults to 1.

    Returns:
        Tensor: x_0, ``(B, C, S, S)``.

    Raises:
        InputError: If there is no step to do.
    """
    from diffusers import DDIMScheduler

    # trailing: from the noisiest step, where v still tells the mean of x_0
    # (arXiv:2305.08891); noise would have to be divided by almost 0 there
    velocity = scheduler.config.prediction_type == 'v_prediction'
    ddim = DDIMScheduler.from_config(
        scheduler.config,
        clip_sample=True,
        clip_sample_range=bound,
        timestep_spacing='trailing' if velocity else 'leading',
    )
    ddim.set_timesteps(num_steps, device=noise.device)
    # of 61 steps, and 28 more numbers below 500, rounding gives a last one, -1
    steps, x = ddim.timesteps[:num_steps], noise
    if draft is not None:
        steps = steps[num_steps - round(strength * num_steps) :]
        if not len(steps) or not 0 < strength <= 1:
            raise InputError(
                f'strength={strength} of num_steps={num_steps} leaves no '
                'step: give a strength over 0, of 1 at most'
            )
        x = ddim.add_noise(draft, noise, steps[:1].expand(len(draft)))
    for step in steps:
        x = ddim.step(says(x, step).float(), step, x).prev_sample
    return x
