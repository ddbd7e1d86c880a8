from typing import (
    Callable,
    List,
    NamedTuple,
    Optional,
    Protocol,
    Sequence,
    Tuple,
)

import numpy as np
import torch
from mmengine.registry import MODELS
from torch import Tensor

from ..bf16 import faster_in_bf16
from ..errors import InputError
from .examples import DefectExamples
from .pretrained import diffusion_settings, load_diffusion

CLEAN = -1  # label of a box that is painted without a defect


class Job(NamedTuple):
    """One box to be painted.

    Attributes:
        window (np.ndarray): ``(S, S, C)``, uint8, its surroundings.
        box (np.ndarray): ``(4,)``, corners from 0 to 1.
        label (int): A class, or :data:`CLEAN`.
        seed (int): Of everything that is drawn for it.
        scale (float): Px of the image for one of the window. Defaults to 1.
        truth (np.ndarray): ``(T, 4)``, corners from 0 to 1, where the real
            image shows defects. Defaults to nowhere.
    """

    window: np.ndarray
    box: np.ndarray
    label: int
    seed: int
    scale: float = 1.0
    truth: np.ndarray = np.zeros((0, 4), np.float32)


class Painter(Protocol):
    """What paints boxes.

    Attributes:
        size (int, optional): Side of its windows in px; None takes them as
            large as they are in the image.
        channels (int): 1 for grey windows, 3 for RGB.
        context (tuple[float]): Range of a window's side for one of the box's
            longer side.
        min_side (int): Least side of a window in px of the image.
    """

    size: Optional[int]
    channels: int
    context: Tuple[float, float]
    min_side: int

    def paint(self, jobs: Sequence[Job]) -> List[np.ndarray]:
        """Paint windows; only what lies in a job's box counts."""


def check_classes(given: Sequence[str], trained: Optional[list]) -> None:
    """Raise :class:`InputError` if a model was trained for other classes."""
    if trained and list(given) != list(trained):
        raise InputError(
            f'painter: its model was trained for {", ".join(trained)}, but '
            f'the data set has {", ".join(given)}: train one for them '
            '(configs/diffusion/)'
        )


@MODELS.register_module()
class DiffusionPainter:
    """Paint by a :class:`ConditionalDiffusion`.

    Args:
        model (str): Folder that ``ExportDiffusionHook`` wrote.
        classes (Sequence[str]): Of the data set, which must be those that the
            model was trained for.
        examples (DefectExamples, optional): Defects that drafts are made of;
            needed for a ``strength`` below 1. Defaults to None.
        num_steps (int): Of DDIM. Defaults to 20.
        guidance (float): Weight of the condition of defects. Defaults to 2.
        strength (float): 1 paints from noise. Below, a real defect of the
            class is put into the box, hidden by noise as far as it is at this
            share of the steps, and painted anew from there (SDEdit,
            arXiv:2108.01073, as DA-Fusion, arXiv:2302.07944). Defaults to 1.
        batch_size (int): Windows painted at once. Defaults to 32.
        device (str): Defaults to the CPU.
        bf16 (bool, optional): Autocast to bfloat16. Defaults to None: where
            that is faster.

    Raises:
        InputError: For other classes than the model's or a number out of its
            range; when it paints, for a place without a defect if the model
            has never seen one.
    """

    def __init__(
        self,
        model: str,
        classes: Sequence[str],
        examples: Optional[DefectExamples] = None,
        num_steps: int = 20,
        guidance: float = 2.0,
        strength: float = 1.0,
        batch_size: int = 32,
        device: str = 'cpu',
        bf16: Optional[bool] = None,
    ) -> None:
        from .fused_unet import fuse_norms  # diffusers takes seconds

        settings = diffusion_settings(model)
        check_classes(classes, settings['classes'])
        if not 0 < strength <= 1:
            raise InputError(
                f'DiffusionPainter: strength={strength}: give one over 0, of '
                '1 at most'
            )
        if num_steps < 1:
            raise InputError(
                f'DiffusionPainter: num_steps={num_steps}: give 1 or more'
            )
        if strength < 1 and examples is None:
            raise InputError(
                f'DiffusionPainter: strength={strength} needs examples of '
                'defects: give 1, or build it through DiffusionAugment'
            )
        self.folder = model
        self.knows_clean = settings.get('clean') != 0
        self.model = load_diffusion(model).to(device)
        self.model.to(memory_format=torch.channels_last)
        fuse_norms(self.model.unet)
        self.examples = examples
        self.size = self.model.size
        self.channels = self.model.image_channels
        self.context = tuple(settings['context'])
        self.min_side = settings['min_side']
        self.num_steps = num_steps
        self.guidance = guidance
        self.strength = strength
        self.batch_size = batch_size
        self.device = device
        if bf16 is None:
            bf16 = faster_in_bf16(torch.device(device).type)
        self.bf16 = bf16

    def paint(self, jobs: Sequence[Job]) -> List[np.ndarray]:
        """Paint windows.

        Args:
            jobs (Sequence[Job]): What to paint.

        Returns:
            list[np.ndarray]: Of each ``(S, S, C)``, uint8.
        """
        if not self.knows_clean and any(x.label == CLEAN for x in jobs):
            raise InputError(
                f'DiffusionPainter: {self.folder} has learnt no place without '
                'a defect: train it with DefectWindowDataset(clean=0.15), or '
                "give layout=dict(background='replace') and no decoys"
            )
        return in_batches(self._paint_batch, jobs, self.batch_size)

    def _paint_batch(self, jobs: Sequence[Job]) -> List[np.ndarray]:
        encoder = self.model.condition_encoder
        labels = [
            torch.tensor([encoder.clean if x.label == CLEAN else x.label])
            for x in jobs
        ]
        boxes = [torch.from_numpy(x.box)[None].float() for x in jobs]
        shape = self.channels, self.size, self.size
        noise = torch.stack(
            [
                torch.randn(
                    shape, generator=torch.Generator().manual_seed(x.seed)
                )
                for x in jobs
            ]
        )
        clean = [i for i, x in enumerate(jobs) if x.label == CLEAN]
        defects = [i for i, x in enumerate(jobs) if x.label != CLEAN]
        windows = as_tensor([x.window for x in jobs])
        painted = torch.empty_like(windows)
        # surroundings alone say how a clean place looks: no guidance, and
        # half the work
        for part, strength, guidance in (
            (clean, 1.0, 1.0),
            (defects, self.strength, self.guidance),
        ):
            if not part:
                continue
            draft = None
            if strength < 1:
                draft = as_tensor(
                    [self.examples.put_into(*jobs[i]) for i in part]
                ).to(self.device)
            with torch.autocast(
                torch.device(self.device).type,
                torch.bfloat16,
                enabled=self.bf16,
            ):
                painted[part] = self.model.paint(
                    windows[part].to(self.device),
                    [labels[i].to(self.device) for i in part],
                    [boxes[i].to(self.device) for i in part],
                    self.num_steps,
                    guidance,
                    noise[part].to(self.device),
                    draft,
                    strength,
                ).cpu()
        pixels = ((painted + 1) * 127.5).round().clamp(0, 255).byte()
        return [*pixels.permute(0, 2, 3, 1).numpy()]


@MODELS.register_module()
class CopyPastePainter:
    """Put real defects of the class into the boxes, as they are.

    The yardstick of :class:`DiffusionPainter`: the same places and feathered
    edges, no model, at the image's own resolution. Boxes to be painted without
    a defect get a part of the window that shows none.

    Args:
        classes (Sequence[str]): Of the data set.
        examples (DefectExamples): Defects.
        channels (int): 1 for grey windows, 3 for RGB. Defaults to 1.
        context (tuple[float]): As :class:`Painter`. Defaults to (1.2, 2.5).
        min_side (int): As :class:`Painter`. Defaults to 96.
    """

    def __init__(
        self,
        classes: Sequence[str],
        examples: DefectExamples,
        channels: int = 1,
        context: Tuple[float, float] = (1.2, 2.5),
        min_side: int = 96,
    ) -> None:
        self.examples = examples
        self.size = None
        self.channels = channels
        self.context = tuple(context)
        self.min_side = min_side

    def paint(self, jobs: Sequence[Job]) -> List[np.ndarray]:
        """Paint windows.

        Args:
            jobs (Sequence[Job]): What to paint.

        Returns:
            list[np.ndarray]: Of each ``(S, S, C)``, uint8.
        """
        return [self.examples.put_into(*job) for job in jobs]


def in_batches(
    paint: Callable[[Sequence[Job]], List[np.ndarray]],
    jobs: Sequence[Job],
    size: int,
) -> List[np.ndarray]:
    """Paint so many jobs at a time."""
    painted: List[np.ndarray] = []
    for start in range(0, len(jobs), size):
        painted += paint(jobs[start : start + size])
    return painted


def as_tensor(windows: Sequence[np.ndarray]) -> Tensor:
    """Windows ``(S, S, C)`` as ``(B, C, S, S)`` from -1 to 1."""
    stacked = torch.from_numpy(np.stack(windows)).permute(0, 3, 1, 2)
    return stacked.float() / 127.5 - 1
