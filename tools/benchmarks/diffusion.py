"""Our painter and the loop of diffusers' documentation, as contenders."""

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import List

import numpy as np
import torch
from diffusers import DDIMScheduler
from mmengine.config import Config
from mmengine.registry import MODELS
from torch.nn import functional as F

from dsym.diffusion import DiffusionPainter, load_diffusion, save_diffusion
from dsym.diffusion.conditional_diffusion import union_mask
from dsym.diffusion.painters import Job, as_tensor

from .alternation import Gate

MODEL = (
    Path(__file__).resolve().parents[2]
    / 'configs'
    / '_base_'
    / 'models'
    / 'defect_diffusion.py'
)
CLASSES = tuple('abcdef')


def random_diffusion(folder: str) -> str:
    """Write the config's model with random weights, which take as long.

    Without its scales of a few products a pixel, so that the UNet and the
    schedule alone say what is painted, as in diffusers' loop.
    """
    torch.manual_seed(0)
    settings = dict(
        Config.fromfile(MODEL).model, contrast=None, sigma_data=None
    )
    save_diffusion(MODELS.build(settings), folder, CLASSES)
    return folder


def jobs(count: int, size: int) -> List[Job]:
    """Windows of noise with a box each."""
    rng = np.random.default_rng(0)
    box = np.array([0.25, 0.25, 0.75, 0.75], np.float32)
    return [
        Job(
            rng.integers(0, 256, (size, size, 1), dtype=np.uint8),
            box,
            i % len(CLASSES),
            i,
        )
        for i in range(count)
    ]


@dataclass
class Paint:
    """Paint windows by :class:`DiffusionPainter`, a batch a step.

    Attributes:
        count (int): Windows.
        num_steps (int): Of DDIM.
    """

    count: int
    num_steps: int

    def __call__(self, gate: Gate) -> None:
        """Paint until the gate says stop."""
        with tempfile.TemporaryDirectory() as folder:
            painter = DiffusionPainter(
                random_diffusion(folder),
                CLASSES,
                num_steps=self.num_steps,
                batch_size=self.count,
            )
        work = jobs(self.count, painter.size)
        while True:
            painter.paint(work)
            gate()


@dataclass
class PaintPlainly:
    """The loop of diffusers' documentation, in fp32, one image at a time.

    Attributes:
        count (int): Windows of a step.
        num_steps (int): Of DDIM.
        guidance (float): Defaults to that of the painter.
    """

    count: int
    num_steps: int
    guidance: float = 2.0

    def __call__(self, gate: Gate) -> None:
        """Paint until the gate says stop."""
        with tempfile.TemporaryDirectory() as folder:
            self.load(random_diffusion(folder))
        work = jobs(self.count, self.model.size)
        while True:
            for job in work:
                self.paint(job)
            gate()

    def load(self, folder: str) -> None:
        """Read the model, and build diffusers' scheduler as ours is."""
        self.model = load_diffusion(folder)
        self.scheduler = DDIMScheduler.from_config(
            self.model.scheduler.config,
            clip_sample=True,
            timestep_spacing='trailing',
        )

    @torch.no_grad()
    def paint(self, job: Job) -> torch.Tensor:
        """Paint one window ``(1, 1, S, S)`` from -1 to 1."""
        model, scheduler = self.model, self.scheduler
        window = as_tensor([job.window])
        box = torch.from_numpy(job.box)[None]
        mask = union_mask([box], model.size)
        label = torch.tensor([job.label])
        tokens = torch.cat(
            [
                model.encode([label[:0]], [box[:0]])[0],
                model.encode([label], [box])[0],
            ]
        )
        scheduler.set_timesteps(self.num_steps)
        generator = torch.Generator().manual_seed(job.seed)
        latents = torch.randn(window.shape, generator=generator)
        known = torch.cat([window * (1 - mask), mask], 1)
        for t in scheduler.timesteps:
            seen = torch.cat([latents, known], 1).repeat(2, 1, 1, 1)
            said = model.unet(
                F.pixel_unshuffle(seen, model.patch),
                t,
                encoder_hidden_states=tokens,
            ).sample
            without, with_it = F.pixel_shuffle(said, model.patch).chunk(2)
            said = without + self.guidance * (with_it - without)
            latents = scheduler.step(said, t, latents).prev_sample
        return torch.where(mask > 0, latents.clamp(-1, 1), window)
