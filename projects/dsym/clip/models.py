import hashlib
import json
import pickle
from dataclasses import asdict
from difflib import get_close_matches
from pathlib import Path
from typing import Callable, Optional, Union

import torch
from huggingface_hub import hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    LocalEntryNotFoundError,
)
from mmengine.logging import print_log
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor, nn

from ..errors import InputError, MissingFileError
from ..weights import resolve_weights

SETTINGS = 'dsym_clip.json'  # beside open_clip's own two files
CONFIG = 'open_clip_config.json'
WEIGHTS = 'open_clip_model.safetensors'
LOCAL, HUB = 'local-dir:', 'hf-hub:'
QUICK = '-quickgelu'  # ends names of open_clip with that activation
ENDINGS = ('*.safetensors', '*.bin', '*.pth')  # weights of open_clip

LOADING_ERRORS = (
    ImportError,
    RuntimeError,
    ValueError,
    OSError,
    EOFError,
    KeyError,
    pickle.UnpicklingError,
    SafetensorError,
)


class LoadedCLIP(nn.Module):
    """A CLIP model with what belongs to it.

    Args:
        model (nn.Module): Of open_clip.
        tokenizer (Callable): Texts to ``(T, context)``.
        model_cfg (dict): As in open_clip's own JSON files.
        settings (dict): ``prompts`` and ``regions`` of an adapted model.
            Defaults to none.

    Attributes:
        mean (Tensor): ``(3, 1, 1)``, of pixels from 0 to 255.
        std (Tensor): ``(3, 1, 1)``.
        size (int): Side in px of the images that the tower takes.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        model: nn.Module,
        tokenizer: Callable,
        model_cfg: dict,
        settings: Optional[dict] = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.tokenizer = tokenizer
        self.model_cfg = model_cfg
        self.settings = settings or {}
        preprocess = model.visual.preprocess_cfg
        for name in ('mean', 'std'):
            value = torch.tensor(preprocess[name]) * 255
            self.register_buffer(name, value[:, None, None], persistent=False)
        size = preprocess['size']
        self.size = size if isinstance(size, int) else size[0]

    def normalize(self, images: Tensor) -> Tensor:
        """Normalize RGB images from 0 to 255."""
        return (images - self.mean) / self.std

    def fingerprint(self) -> str:
        """Name the weights: 16 hexadecimal digits of a hash."""
        digest = hashlib.blake2b(digest_size=8)
        for key, value in sorted(self.model.state_dict().items()):
            digest.update(key.encode())
            # a view as bytes exists for every type, bfloat16 too
            value = value.detach().cpu().contiguous().reshape(-1)
            digest.update(value.view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()


def build_clip(clip: dict) -> LoadedCLIP:
    """Make a model with random weights.

    Args:
        clip (dict): ``model_cfg`` and ``preprocess_cfg`` as in open_clip's
            own JSON files.

    Returns:
        LoadedCLIP: The model.
    """
    import open_clip

    config = json.loads(json.dumps(clip['model_cfg']))
    model = open_clip.CLIP(**config)
    preprocess = {
        **asdict(open_clip.transform.PreprocessCfg()),
        'size': config['vision_cfg']['image_size'],
        **clip.get('preprocess_cfg', {}),
    }
    open_clip.set_model_preprocess_cfg(model, preprocess)
    context = config['text_cfg'].get('context_length', 77)
    tokenizer = open_clip.SimpleTokenizer(context_length=context)
    return LoadedCLIP(model, tokenizer, config)


def check_clip(model: str, pretrained: Optional[str] = None) -> None:
    """Raise for a name or a file that is not there, without loading it.

    Args:
        model (str): As in :func:`load_clip`.
        pretrained (str, optional): As in :func:`load_clip`.

    Raises:
        InputError: With near matches, or the file to put where.
    """
    import open_clip

    model = resolve_weights(model)
    if model.startswith(HUB):
        return
    folder = Path(model.removeprefix(LOCAL))
    if model.startswith(LOCAL) or folder.is_dir():
        others = [x for ending in ENDINGS for x in folder.glob(ending)]
        for name in (CONFIG, WEIGHTS):
            if not (folder / name).is_file() and not (
                name == WEIGHTS and others
            ):
                raise MissingFileError(
                    f'clip: {folder / name} does not exist: give the folder '
                    'that ExportCLIPHook wrote, or a name of '
                    'open_clip.list_models()'
                )
        return
    names = open_clip.list_models()
    if model not in names:
        near = get_close_matches(model, names, 3, 0.5)
        raise InputError(
            f'clip: open_clip knows no model {model!r}, and there is no such '
            f'folder: {did_you_mean(near, "open_clip.list_models()")}'
        )
    if not pretrained:
        raise InputError(
            f'clip: {model} without pretrained has random weights: give a '
            f'tag, such as {first_tags(model)}, or a checkpoint file'
        )
    tags = open_clip.list_pretrained_tags_by_model(model)
    if pretrained not in tags and not Path(pretrained).is_file():
        near = get_close_matches(pretrained, tags, 3, 0.5)
        raise InputError(
            f'clip: {pretrained!r} is neither a checkpoint file nor a tag of '
            f'{model}: {did_you_mean(near, first_tags(model))}'
        )


def did_you_mean(near: list, otherwise: str) -> str:
    """Say what to give instead."""
    if near:
        return f'did you mean {" or ".join(near)}?'
    return f'give one of {otherwise}'


def first_tags(model: str) -> str:
    """Some tags of a model of open_clip."""
    import open_clip

    return ', '.join(open_clip.list_pretrained_tags_by_model(model)[:5])


def load_clip(
    model: Union[str, dict],
    pretrained: Optional[str] = None,
    cache_dir: Optional[str] = None,
) -> LoadedCLIP:
    """Load a model of open_clip.

    Args:
        model (str or dict): A name of ``open_clip.list_models()``, a folder
            that :class:`ExportCLIPHook` or open_clip wrote, ``dsym://...``
            for one of the package, ``hf-hub:...``, or the ``model_cfg`` of
            one to train from scratch.
        pretrained (str, optional): A tag of the name, or a checkpoint file.
            Defaults to None.
        cache_dir (str, optional): Where open_clip keeps downloads. Defaults
            to its own place.

    Returns:
        LoadedCLIP: In evaluation mode.

    Raises:
        InputError: For an unknown name or tag, weights of another tower, or
            a download that fails.
    """
    import open_clip

    if isinstance(model, dict):
        return build_clip(model)
    model = resolve_weights(model)
    check_clip(model, pretrained)
    settings = {}
    name = model
    folder = Path(model.removeprefix(LOCAL))
    try:
        if folder.is_dir():
            name = f'{LOCAL}{folder}'
            settings = read_settings(folder)
        # open_clip would warn alone, and compute with another activation
        quick = is_quick(name, pretrained)
        loaded = open_clip.create_model(
            name,
            pretrained=pretrained,
            cache_dir=cache_dir,
            force_quick_gelu=quick,
        )
        tokenizer = open_clip.get_tokenizer(name, cache_dir=cache_dir)
        if model.startswith(HUB):
            repo = model.removeprefix(HUB)
            file = hf_hub_download(repo, CONFIG, cache_dir=cache_dir)
            model_cfg = json.loads(Path(file).read_text())['model_cfg']
            settings = hub_settings(repo, cache_dir)
        else:
            model_cfg = open_clip.get_model_config(name)
        if quick:
            model_cfg['quick_gelu'] = True
    except InputError:
        raise
    except LOADING_ERRORS as error:
        raise InputError(
            explain(model, pretrained, cache_dir, error)
        ) from error
    return LoadedCLIP(loaded, tokenizer, model_cfg, settings).eval()


def is_quick(model: str, pretrained: Optional[str]) -> bool:
    """Whether weights of a tag were trained with QuickGELU.

    Args:
        model (str): A name of open_clip; other models say it themselves.
        pretrained (str, optional): A tag, or a file, of which nothing is
            known.

    Returns:
        bool: As open_clip's table of tags says.
    """
    import open_clip

    tag = open_clip.get_pretrained_cfg(model, pretrained or '')
    return tag.get('quick_gelu', False)


def hub_settings(repo: str, cache_dir: Optional[str]) -> dict:
    """Settings of an adapted model of the hub; none of another's.

    Args:
        repo (str): Its repository.
        cache_dir (str, optional): As in :func:`load_clip`.

    Returns:
        dict: As :func:`read_settings`.
    """
    try:
        file = hf_hub_download(repo, SETTINGS, cache_dir=cache_dir)
    except LocalEntryNotFoundError:
        print_log(
            f'clip: no network, and no {SETTINGS} of {repo} on this machine: '
            'if it is an adapted model, copy that file too',
            'current',
            30,
        )
        return {}
    except EntryNotFoundError:
        return {}
    return read_settings(Path(file).parent)


def read_settings(folder: Path) -> dict:
    """Settings of an adapted model's folder; none of another's.

    Args:
        folder (Path): The folder.

    Returns:
        dict: What :func:`save_clip` wrote.

    Raises:
        InputError: If the file is damaged.
    """
    file = folder / SETTINGS
    if not file.is_file():
        return {}
    try:
        return json.loads(file.read_text())
    except ValueError as error:
        raise InputError(
            f'clip: {file} is damaged ({error}): adapt the model again'
        ) from None


def explain(
    model: str,
    pretrained: Optional[str],
    cache_dir: Optional[str],
    error: Exception,
) -> str:
    """Say in one line why a model did not load and what helps."""
    text = ' '.join(str(error).split())
    folder = Path(model.removeprefix(LOCAL))
    source = folder if folder.is_dir() else pretrained
    if 'size mismatch' in text or 'Missing key' in text:
        return (
            f'clip: the weights of {source} are of another tower than '
            f'{model}: give the model they were saved from'
        )
    if 'pip install' in text:  # of a package that the tower needs
        return f'clip: {model} cannot be loaded here: {text[:200]}'
    if source and Path(source).exists():
        return (
            f'clip: {source} cannot be loaded ({text[:200]}): restore it, or '
            'adapt the model again'
        )
    place = cache_dir or '~/.cache/huggingface/hub'
    repo = model.removeprefix(HUB)
    if model.startswith(HUB):
        return (
            f'clip: {model} cannot be downloaded: on a machine with network '
            f'get {CONFIG}, {WEIGHTS} and, of an adapted one, {SETTINGS} of '
            f'{repo} and give their folder as clip=, or copy {place} from '
            f'there ({text[:120]})'
        )
    import open_clip

    repo = (
        open_clip.get_pretrained_cfg(model, pretrained).get('hf_hub') or repo
    )
    remedy = 'pretrained='
    if is_quick(model, pretrained) and not model.endswith(QUICK):
        remedy += f' of clip={model}{QUICK}'
    return (
        f'clip: {model} cannot be downloaded: on a machine with network get '
        f'{WEIGHTS} of {repo.strip("/")}, put it here and give its path as '
        f'{remedy}, or copy {place} from there ({text[:120]})'
    )


def save_clip(
    clip: LoadedCLIP,
    folder: Union[str, Path],
    half: bool = True,
    state_dict: Optional[dict] = None,
) -> None:
    """Write a folder that :func:`load_clip` and open_clip load.

    Args:
        clip (LoadedCLIP): The model.
        folder (str or Path): Made if it does not exist.
        half (bool): Save float16. Defaults to True.
        state_dict (dict, optional): Other weights than the model's. Defaults
            to None.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    if state_dict is None:
        state_dict = clip.model.state_dict()
    preprocess = dict(clip.model.visual.preprocess_cfg)
    config = dict(model_cfg=clip.model_cfg, preprocess_cfg=preprocess)
    weights = {
        key: value.detach().cpu().contiguous()
        for key, value in state_dict.items()
    }
    if half:
        weights = {
            key: x.half() if x.is_floating_point() else x
            for key, x in weights.items()
        }
    temporary = folder / f'{WEIGHTS}.tmp'
    save_file(weights, temporary)
    temporary.replace(folder / WEIGHTS)
    (folder / CONFIG).write_text(json.dumps(config, indent=2) + '\n')
    (folder / SETTINGS).write_text(json.dumps(clip.settings, indent=2) + '\n')
    print_log(f'saved CLIP to {folder}', 'current')
