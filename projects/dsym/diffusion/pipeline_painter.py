from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple, Union

import numpy as np
import torch
from mmengine.registry import MODELS

from ..errors import InputError
from .painters import CLEAN, Job, in_batches

DTYPES = ('float32', 'float16', 'bfloat16')
PROMPT = 'a greyscale photo of a steel surface with a {defect_type} defect'
CLEAN_PROMPT = 'a greyscale photo of a clean steel surface'


@MODELS.register_module()
class PipelinePainter:
    """Paint by an inpainting pipeline of diffusers, such as Stable Diffusion.

    Args:
        model (str): A folder of a pipeline, or its name on the hub.
        classes (Sequence[str]): Of the data set.
        prompt (str or dict[str, str]): With ``{defect_type}``, or a dict of
            one by class name. Defaults to one about steel.
        clean_prompt (str): For boxes painted without a defect.
        words (dict, optional): What classes are called in the prompt.
            Defaults to None: as in the data set, without hyphens.
        channels (int): 1 for grey windows, 3 for RGB. Defaults to 1.
        size (int): Side in px that windows are painted at. Defaults to 512.
        context (tuple[float]): Range of a window's side for one of the box's
            longer side. Defaults to (1.5, 3).
        min_side (int): Least side of a window in px of the image. Defaults to
            64.
        num_steps (int): Defaults to 20.
        guidance (float): Defaults to 7.5.
        batch_size (int): Defaults to 4.
        device (str): Defaults to the CPU.
        dtype (str): Of the weights. Defaults to ``'float32'``.
        examples: Not used.

    Raises:
        InputError: If the pipeline cannot be loaded.
    """

    def __init__(
        self,
        model: str,
        classes: Sequence[str],
        prompt: Union[str, Dict[str, str]] = PROMPT,
        clean_prompt: str = CLEAN_PROMPT,
        words: Optional[Dict[str, str]] = None,
        channels: int = 1,
        size: int = 512,
        context: Tuple[float, float] = (1.5, 3.0),
        min_side: int = 64,
        num_steps: int = 20,
        guidance: float = 7.5,
        batch_size: int = 4,
        device: str = 'cpu',
        dtype: str = 'float32',
        examples=None,
    ) -> None:
        if dtype not in DTYPES:
            raise InputError(
                f'painter.dtype={dtype!r}: give one of {", ".join(DTYPES)}'
            )
        self.pipeline = load_pipeline(model, getattr(torch, dtype)).to(device)
        self.pipeline.set_progress_bar_config(disable=True)
        words = words or {}
        unknown = {*words} - {*classes}
        if unknown:
            raise InputError(
                f'painter.words: {", ".join(sorted(unknown))} is no class: '
                f'give some of {", ".join(classes)}'
            )
        named = [
            words.get(x, x.replace('-', ' ').replace('_', ' '))
            for x in classes
        ]
        if isinstance(prompt, str):
            prompt = dict.fromkeys(classes, prompt)
        missing = [x for x in classes if x not in prompt]
        if missing:
            raise InputError(
                f'painter.prompt has none for {", ".join(missing)}: give one '
                'for each class'
            )
        self.prompts = [
            prompt[x].format(defect_type=y) for x, y in zip(classes, named)
        ]
        self.clean_prompt = clean_prompt
        self.channels = channels
        self.size = size
        self.context = tuple(context)
        self.min_side = min_side
        self.num_steps = num_steps
        self.guidance = guidance
        self.batch_size = batch_size

    def paint(self, jobs: Sequence[Job]) -> List[np.ndarray]:
        """Paint windows.

        Args:
            jobs (Sequence[Job]): What to paint.

        Returns:
            list[np.ndarray]: Of each ``(S, S, C)``, uint8.
        """
        return in_batches(self._paint_batch, jobs, self.batch_size)

    def _paint_batch(self, jobs: Sequence[Job]) -> List[np.ndarray]:
        from PIL import Image

        images, masks = [], []
        for job in jobs:
            window = job.window
            if self.channels == 1:
                window = window.repeat(3, 2)
            images.append(Image.fromarray(window))
            mask = np.zeros((self.size, self.size), np.uint8)
            x1, y1 = np.floor(job.box[:2] * self.size).astype(int)
            x2, y2 = np.ceil(job.box[2:] * self.size).astype(int)
            mask[y1:y2, x1:x2] = 255
            masks.append(Image.fromarray(mask))
        results = self.pipeline(
            prompt=[
                self.clean_prompt
                if x.label == CLEAN
                else self.prompts[x.label]
                for x in jobs
            ],
            image=images,
            mask_image=masks,
            height=self.size,
            width=self.size,
            num_inference_steps=self.num_steps,
            guidance_scale=self.guidance,
            generator=[torch.Generator().manual_seed(x.seed) for x in jobs],
            output_type='np',
        ).images
        pixels = (results * 255).round().clip(0, 255).astype(np.uint8)
        if self.channels == 1:
            pixels = pixels.mean(3, keepdims=True).round().astype(np.uint8)
        return [*pixels]


def load_pipeline(model: str, dtype: torch.dtype):
    """Load an inpainting pipeline.

    Args:
        model (str): A folder, or a name on the hub.
        dtype (torch.dtype): Of its weights.

    Returns:
        DiffusionPipeline: The pipeline.

    Raises:
        InputError: With the remedy.
    """
    from diffusers import AutoPipelineForInpainting

    try:
        return AutoPipelineForInpainting.from_pretrained(
            model, torch_dtype=dtype
        )
    except Exception as error:  # diffusers raises a dozen kinds
        text = ' '.join(str(error).split())[:160]
        if Path(model).exists():
            raise InputError(
                f'painter.model={model} is no inpainting pipeline of '
                f'diffusers ({text}): give a folder that save_pretrained wrote'
            ) from error
        raise InputError(
            f'painter.model={model} cannot be downloaded ({text}): on a '
            'machine with network download it with diffusers, save_pretrained '
            'it, and give the folder'
        ) from error
