from typing import Dict, List, Optional, Sequence, Tuple, Union

import torch
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from torch import Tensor
from torch.nn import functional as F

from ..errors import InputError
from .condition_encoder import box_masks, pad_conditions
from .sampling import ddim_paint


@MODELS.register_module()
class ConditionalDiffusion(BaseModel):
    """Paint defects into steel (section 3.3 of the paper).

    A denoising diffusion model (eqs 8 to 10) of windows around defects. The
    UNet of diffusers sees the noisy window, the window without what lies in
    the boxes, and the boxes' mask; the boxes and classes go to its
    cross-attention (:class:`DefectConditionEncoder`). Training is eq 14;
    sampling is DDIM (eq 15) by diffusers' scheduler.

    Args:
        unet (dict): Of ``diffusers.UNet2DConditionModel``, but for its
            channels and ``cross_attention_dim``. Its ``sample_size`` is that
            of a window over ``patch``.
        condition_encoder (dict): ``DefectConditionEncoder``.
        image_channels (int): 1 for grey images, 3 for RGB. Defaults to 1.
        patch (int): The UNet sees patches of so many px as channels of one
            place: windows of twice the side at the same cost with 2
            (arXiv:2301.11093). Defaults to 1.
        scheduler (dict, optional): Of ``diffusers.DDPMScheduler``. Defaults
            to 1000 steps of a squared cosine schedule.
        drop_condition (float): Share of images trained without their
            condition, for guidance (arXiv:2207.12598). Defaults to 0.1.
        min_snr (float, optional): gamma of min-SNR weighting
            (arXiv:2303.09556); None weighs all steps alike, as eq 14.
            Defaults to None.
        contrast (float, optional): The UNet sees windows less the mean of
            their surroundings, over this. Noise of standard deviation 1 hides
            a texture of 0.1 in nearly all steps, so that two of twenty make
            it; with the windows' own deviation here a quarter do. Defaults to
            None, windows as they are.
        sigma_data (float, optional): Standard deviation of the texture that
            the UNet sees, for v-prediction: it then says what EDM's F does
            (arXiv:2206.00364, eq 7), v without the part that follows from
            the noisy window alone. A patch of noise has as many numbers as
            pixels; to repeat it precisely is more than a narrow UNet can, and
            what it misses stays as grain on smooth steel. Defaults to None,
            which is 1: v itself.
        outside (float): Weight of the loss outside the boxes, which the
            surroundings tell. Defaults to 1, as eq 14.
        data_preprocessor (dict, optional): Defaults to mmengine's own.

    Raises:
        InputError: If diffusers does not know a setting.
    """

    def __init__(
        self,
        unet: dict,
        condition_encoder: dict,
        image_channels: int = 1,
        patch: int = 1,
        scheduler: Optional[dict] = None,
        drop_condition: float = 0.1,
        min_snr: Optional[float] = None,
        contrast: Optional[float] = None,
        sigma_data: Optional[float] = None,
        outside: float = 1.0,
        data_preprocessor: Optional[dict] = None,
    ) -> None:
        super().__init__(data_preprocessor)
        from diffusers import DDPMScheduler, UNet2DConditionModel

        self.condition_encoder = MODELS.build(condition_encoder)
        try:
            self.unet = UNet2DConditionModel(
                in_channels=(2 * image_channels + 1) * patch**2,
                out_channels=image_channels * patch**2,
                cross_attention_dim=self.condition_encoder.dims,
                **unet,
            )
            self.scheduler = DDPMScheduler(
                **{
                    'num_train_timesteps': 1000,
                    'beta_schedule': 'squaredcos_cap_v2',
                    **(scheduler or {}),
                }
            )
        except (TypeError, ValueError, NotImplementedError) as error:
            raise InputError(
                f'ConditionalDiffusion: diffusers refuses unet or scheduler: '
                f'{" ".join(str(error).split())[:200]}'
            ) from error
        predicts = self.scheduler.config.prediction_type
        if predicts not in ('epsilon', 'v_prediction'):
            raise InputError(
                'ConditionalDiffusion: scheduler.prediction_type='
                f'{predicts!r} is not trained: give epsilon or v_prediction'
            )
        if sigma_data is not None and predicts != 'v_prediction':
            raise InputError(
                f'ConditionalDiffusion: sigma_data={sigma_data} is for '
                "scheduler=dict(prediction_type='v_prediction'): set it, or "
                'leave sigma_data out'
            )
        self.image_channels = image_channels
        self.patch = patch
        self.drop_condition = drop_condition
        self.min_snr = min_snr
        self.contrast = contrast
        self.sigma_data = sigma_data
        self.outside = outside

    def encode(
        self, labels: Sequence[Tensor], boxes: Sequence[Tensor]
    ) -> Tuple[Tensor, Tensor]:
        """Tokens of conditions and which of them are there.

        Args:
            labels (Sequence[Tensor]): Of each image ``(n,)``.
            boxes (Sequence[Tensor]): Of each image ``(n, 4)``, 0 to 1.

        Returns:
            tuple[Tensor, Tensor]: ``(B, N, dims)`` and ``(B, N)``.
        """
        nothing = self.condition_encoder.nothing
        padded = pad_conditions(labels, boxes, nothing)
        return self.condition_encoder(*padded), padded[2]

    def predict(
        self,
        noisy: Tensor,
        steps: Tensor,
        surroundings: Tensor,
        mask: Tensor,
        tokens: Tuple[Tensor, Tensor],
    ) -> Tensor:
        """What the UNet says: the noise, or v.

        Args:
            noisy (Tensor): ``(B, C, S, S)``.
            steps (Tensor): ``(B,)`` or of no dimension, t.
            surroundings (Tensor): ``(B, C, S, S)``, 0 in the mask.
            mask (Tensor): ``(B, 1, S, S)``, 1 where a defect is to be.
            tokens (tuple[Tensor, Tensor]): Of :meth:`encode`.

        Returns:
            Tensor: ``(B, C, S, S)``.
        """
        skip, scale, unit = self.precondition(steps)
        seen = torch.cat([unit * noisy, surroundings, mask], 1)
        said = self.unet(
            F.pixel_unshuffle(seen, self.patch),
            steps,
            encoder_hidden_states=tokens[0],
            encoder_attention_mask=tokens[1],
        ).sample
        return skip * noisy + scale * F.pixel_shuffle(said, self.patch)

    def precondition(self, steps: Tensor) -> Tuple[Union[float, Tensor], ...]:
        """Factors of what goes into the UNet and comes out of it.

        EDM's denoiser ``D = c_skip x + c_out F(c_in x)`` of ``x = x_t / a``
        with ``a, s`` of ``x_t = a x_0 + s noise``, and ``v = (a x_t - D) / s``
        give, with ``k = s^2 + a^2 sigma_data^2``, ``v = a s (1 -
        sigma_data^2) / k x_t - sigma_data / k^0.5 F(x_t / k^0.5)``.

        Args:
            steps (Tensor): ``(B,)`` or of no dimension, t.

        Returns:
            tuple: Of the noisy window that is added, of what the UNet says,
            of the noisy window that it sees: Tensors ``(B, 1, 1, 1)`` or of
            no dimension; 0, 1 and 1 without ``sigma_data``.
        """
        if self.sigma_data is None:
            return 0.0, 1.0, 1.0
        square = self.scheduler.alphas_cumprod.to(steps.device)[steps]
        square = square.reshape(square.shape + (1, 1, 1) * square.dim())
        k = 1 - square + square * self.sigma_data**2
        skip = (square * (1 - square)).sqrt() * (1 - self.sigma_data**2) / k
        return skip, -self.sigma_data * k.rsqrt(), k.rsqrt()

    def forward(
        self,
        inputs: Union[Tensor, Sequence[Tensor]],
        labels: List[Tensor],
        boxes: List[Tensor],
        mode: str = 'loss',
    ) -> Union[Dict[str, Tensor], Tensor]:
        """Loss of a batch (eq 14), or paintings in its boxes.

        Args:
            inputs (Tensor or Sequence[Tensor]): Windows ``(B, C, S, S)``
                from -1 to 1.
            labels (list[Tensor]): Of each ``(n,)``.
            boxes (list[Tensor]): Of each ``(n, 4)``, corners from 0 to 1.
            mode (str): 'loss' or 'predict'. Defaults to 'loss'.

        Returns:
            dict[str, Tensor] or Tensor: ``loss_diffusion``, or windows.
        """
        if not isinstance(inputs, Tensor):
            inputs = torch.stack([*inputs])
        if mode == 'predict':
            return self.paint(inputs, labels, boxes)
        mask = union_mask(boxes, inputs.shape[-1])
        inputs = (inputs - self.base(inputs, mask)) / (self.contrast or 1)
        noise = torch.randn_like(inputs)
        total = self.scheduler.config.num_train_timesteps
        steps = torch.randint(total, (len(inputs),), device=inputs.device)
        noisy = self.scheduler.add_noise(inputs, noise, steps)
        dropped = torch.rand(len(inputs)) < self.drop_condition
        kept_labels = [
            x[:0] if drop else x for x, drop in zip(labels, dropped)
        ]
        kept_boxes = [x[:0] if drop else x for x, drop in zip(boxes, dropped)]
        tokens = self.encode(kept_labels, kept_boxes)
        said = self.predict(noisy, steps, inputs * (1 - mask), mask, tokens)
        target = noise
        if self.scheduler.config.prediction_type == 'v_prediction':
            target = self.scheduler.get_velocity(inputs, noise, steps)
        loss = F.mse_loss(said.float(), target, reduction='none')
        share = (mask + self.outside * (1 - mask)).expand_as(loss)
        loss = (loss * share).sum((1, 2, 3)) / share.sum((1, 2, 3))
        return dict(loss_diffusion=(loss * self.weights(steps)).mean())

    def base(self, windows: Tensor, mask: Tensor) -> Tensor:
        """What ``contrast`` takes off the windows.

        Args:
            windows (Tensor): ``(B, C, S, S)``.
            mask (Tensor): ``(B, 1, S, S)``, 1 in the boxes.

        Returns:
            Tensor: ``(B, C, 1, 1)``: the mean of the surroundings, of the
            whole window where there are none; 0 without ``contrast``.
        """
        if not self.contrast:
            return torch.zeros_like(windows[..., :1, :1])
        seen = 1 - mask
        area = seen.sum((2, 3), keepdim=True)
        total = (windows * seen).sum((2, 3), keepdim=True)
        whole = windows.mean((2, 3), keepdim=True)
        return torch.where(area >= 1, total / area.clamp(min=1), whole)

    def weights(self, steps: Tensor) -> Tensor:
        """Min-SNR weights ``(B,)`` of steps, or ones.

        ``min(snr, gamma) / snr`` for noise, ``min(snr, gamma) / (snr + 1)``
        for v.
        """
        if self.min_snr is None:
            return torch.ones_like(steps, dtype=torch.float32)
        alphas = self.scheduler.alphas_cumprod.to(steps.device)[steps]
        snr = alphas / (1 - alphas)
        velocity = self.scheduler.config.prediction_type == 'v_prediction'
        return snr.clamp(max=self.min_snr) / (snr + velocity)

    @property
    def size(self) -> int:
        """Side of a window in px."""
        return self.unet.config.sample_size * self.patch

    @torch.no_grad()
    def paint(
        self,
        windows: Tensor,
        labels: Sequence[Tensor],
        boxes: Sequence[Tensor],
        num_steps: int = 20,
        guidance: float = 2.0,
        noise: Optional[Tensor] = None,
        draft: Optional[Tensor] = None,
        strength: float = 1.0,
    ) -> Tensor:
        """Paint defects into windows by DDIM (eq 15).

        What is outside of the boxes' mask stays as it is.

        Args:
            windows (Tensor): ``(B, C, S, S)`` from -1 to 1.
            labels (Sequence[Tensor]): Of each ``(n,)``.
            boxes (Sequence[Tensor]): Of each ``(n, 4)``, corners, 0 to 1.
            num_steps (int): Of DDIM, for ``strength=1``. Defaults to 20.
            guidance (float): Weight of the condition; 1 is without guidance.
                Defaults to 2.
            noise (Tensor, optional): x_T, of the windows' shape. Defaults to
                None, which draws it.
            draft (Tensor, optional): Windows to begin with instead of noise
                alone (SDEdit, arXiv:2108.01073). Defaults to None.
            strength (float): With a draft: share of the steps that are done,
                from where noise hides as much of it. Defaults to 1.

        Returns:
            Tensor: ``(B, C, S, S)`` from -1 to 1.
        """
        mask = union_mask(boxes, windows.shape[-1])
        base, scale = self.base(windows, mask), self.contrast or 1
        surroundings = (windows - base) / scale * (1 - mask)
        tokens = self.encode(labels, boxes)
        if guidance != 1:
            nothing = self.encode(
                [x[:0] for x in labels], [x[:0] for x in boxes]
            )
            tokens = double(tokens, nothing)
            surroundings, mask = (
                x.repeat(2, 1, 1, 1) for x in (surroundings, mask)
            )

        def says(x: Tensor, step: Tensor) -> Tensor:
            if guidance == 1:
                return self.predict(x, step, surroundings, mask, tokens)
            both = self.predict(
                x.repeat(2, 1, 1, 1), step, surroundings, mask, tokens
            )
            with_it, without = both.chunk(2)
            return without + guidance * (with_it - without)

        if noise is None:
            noise = torch.randn_like(windows)
        if draft is not None:
            draft = (draft - base) / scale
        # what is from -1 to 1 is within 2 of its own mean
        bound = 2 / scale if self.contrast else 1.0
        painted = ddim_paint(
            says, self.scheduler, noise, num_steps, draft, strength, bound
        )
        painted = painted * scale + base
        inside = mask[: len(windows)] > 0
        return torch.where(inside, painted.clamp(-1, 1), windows)


def union_mask(boxes: Sequence[Tensor], size: int) -> Tensor:
    """Mask of all boxes of each image.

    Args:
        boxes (Sequence[Tensor]): Of each ``(n, 4)``, corners from 0 to 1.
        size (int): Side in px.

    Returns:
        Tensor: ``(B, 1, size, size)``, 1 in every pixel that a box touches.
    """
    masks = [
        (box_masks(x, size) > 0).any(0) if len(x) else x.new_zeros(size, size)
        for x in boxes
    ]
    return torch.stack([x.float() for x in masks])[:, None]


def double(
    first: Tuple[Tensor, Tensor], second: Tuple[Tensor, Tensor]
) -> Tuple[Tensor, Tensor]:
    """Tokens of one batch and of another behind each other."""
    count = max(first[0].shape[1], second[0].shape[1])

    def longer(x: Tensor) -> Tensor:
        missing = count - x.shape[1]
        pad = (0, 0, 0, missing) if x.dim() == 3 else (0, missing)
        return F.pad(x, pad)

    return tuple(
        torch.cat([longer(x), longer(y)]) for x, y in zip(first, second)
    )
