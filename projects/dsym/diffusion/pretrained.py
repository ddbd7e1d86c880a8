import json
from pathlib import Path
from typing import Optional, Sequence, Tuple, Union

import torch
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ..errors import InputError, MissingFileError
from ..weights import resolve_weights
from .conditional_diffusion import ConditionalDiffusion

SETTINGS = 'dsym_diffusion.json'
ENCODER_WEIGHTS = 'condition_encoder.safetensors'
KEYS = (
    'condition_encoder', 'patch', 'contrast', 'sigma_data', 'classes',
    'context', 'min_side',
)  # fmt: skip


def save_diffusion(
    model: ConditionalDiffusion,
    folder: Union[str, Path],
    classes: Optional[Sequence[str]] = None,
    context: Tuple[float, float] = (1.2, 2.5),
    min_side: int = 32,
    half: bool = False,
    state_dict: Optional[dict] = None,
    clean: Optional[float] = None,
) -> None:
    """Write ``unet/`` and ``scheduler/`` for diffusers, and what is ours.

    Args:
        model (ConditionalDiffusion): The model.
        folder (str or Path): Made if it does not exist.
        classes (tuple[str], optional): What its labels are called. Defaults
            to None.
        context (tuple[float]): Of the windows it has learnt from, as
            ``DefectWindowDataset``. Defaults to (1.2, 2.5).
        min_side (int): Likewise. Defaults to 32.
        half (bool): Save float16. Defaults to False.
        state_dict (dict, optional): Other weights than the model's. Defaults
            to None.
        clean (float, optional): Share of windows without a defect that it has
            learnt from, as ``DefectWindowDataset``. Defaults to None, not
            known.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    dtype = torch.float16 if half else torch.float32
    parts = {'unet.': {}, 'condition_encoder.': {}}
    for key, value in (state_dict or model.state_dict()).items():
        for prefix, part in parts.items():
            if key.startswith(prefix):
                value = value.detach().to('cpu', dtype)
                part[key.removeprefix(prefix)] = value.contiguous()
    unet = type(model.unet).from_config(model.unet.config)
    unet = unet.half() if half else unet
    unet.load_state_dict(parts['unet.'])
    weights = parts['condition_encoder.']
    # without it until all is written: a folder with it is whole
    (folder / SETTINGS).unlink(missing_ok=True)
    unet.save_pretrained(folder / 'unet')
    model.scheduler.save_pretrained(folder / 'scheduler')
    save_file(weights, folder / ENCODER_WEIGHTS)
    encoder = model.condition_encoder
    settings = dict(
        condition_encoder=dict(encoder.config, type=type(encoder).__name__),
        patch=model.patch,
        contrast=model.contrast,
        sigma_data=model.sigma_data,
        classes=classes and list(classes),
        context=list(context),
        min_side=min_side,
        clean=clean,
    )
    (folder / SETTINGS).write_text(json.dumps(settings, indent=2) + '\n')


def diffusion_settings(folder: Union[str, Path]) -> dict:
    """What :func:`save_diffusion` wrote beside the weights.

    Args:
        folder (str or Path): The folder, or ``dsym://NAME``.

    Returns:
        dict: ``condition_encoder``, ``patch``, ``classes``, ``context``,
        ``min_side`` and, of newer ones, ``clean``.

    Raises:
        InputError: If the file is missing or damaged.
    """
    file = Path(resolve_weights(folder)) / SETTINGS
    if not file.is_file():
        raise MissingFileError(
            f'{folder} holds no ConditionalDiffusion: it has no {SETTINGS}; '
            'train a config of configs/diffusion and give the folder that '
            'ExportDiffusionHook wrote'
        )
    try:
        settings = json.loads(file.read_text())
        missing = {*KEYS} - {*settings}
        if missing:
            raise ValueError(f'no {", ".join(sorted(missing))}')
    except ValueError as error:
        raise InputError(
            f'{file} is damaged ({error}): train the model again'
        ) from None
    return settings


def load_diffusion(folder: Union[str, Path]) -> ConditionalDiffusion:
    """Load what :func:`save_diffusion` wrote.

    Args:
        folder (str or Path): The folder, or ``dsym://NAME``.

    Returns:
        ConditionalDiffusion: In evaluation mode, float32.

    Raises:
        InputError: If a file is missing or damaged.
    """
    from diffusers import DDPMScheduler, UNet2DConditionModel

    folder = Path(resolve_weights(folder))
    settings = diffusion_settings(folder)
    model = ConditionalDiffusion.__new__(ConditionalDiffusion)
    BaseModel.__init__(model)
    part = folder  # which diffusers' own messages go into
    try:
        model.unet = UNet2DConditionModel.from_pretrained(
            folder / 'unet',
            torch_dtype=torch.float32,
            low_cpu_mem_usage=False,  # the other way needs accelerate
            local_files_only=True,  # no hub is asked for what is missing
        )
        model.scheduler = DDPMScheduler.from_pretrained(
            folder / 'scheduler', local_files_only=True
        )
        part = folder / ENCODER_WEIGHTS
        model.condition_encoder = MODELS.build(settings['condition_encoder'])
        model.condition_encoder.load_state_dict(load_file(part))
        model.patch = settings['patch']
        model.contrast = settings['contrast']
        model.sigma_data = settings['sigma_data']
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as e:
        raise InputError(
            f'{part} cannot be loaded ({" ".join(str(e).split())[:200]}): '
            'restore it, or train the model again'
        ) from e
    model.image_channels = model.unet.config.out_channels // model.patch**2
    model.drop_condition, model.min_snr, model.outside = 0.0, None, 1.0
    return model.float().eval()
