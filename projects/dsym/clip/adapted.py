from dataclasses import fields
from typing import Optional, Sequence

from ..errors import InputError
from .models import load_clip
from .prompts import Prompts
from .regions import RegionSettings
from .scorer import CLIPScorer

NORMAL = ('A photo without defect',)  # what softmax compares with by default


def prompts_for(
    classes: Sequence[str],
    given: Optional[dict],
    saved: dict,
    mode: str,
    name: str,
) -> Prompts:
    """An adapted model's prompts, or the paper's, with what was given.

    Args:
        classes (Sequence[str]): Of the data set.
        given (dict, optional): Of :class:`Prompts`; each comes before the
            model's own.
        saved (dict): Settings of an adapted model; empty of others.
        mode (str): As in :class:`CLIPScorer`; softmax gets a text of no
            defect if there is none.
        name (str): What the model is called in an error.

    Returns:
        Prompts: The prompts.

    Raises:
        InputError: If the model was adapted to other classes.
    """
    chosen = {**(saved.get('prompts') or {}), **(given or {})}
    trained_for = chosen.pop('classes', None)
    if trained_for is not None and list(trained_for) != list(classes):
        raise InputError(
            f'clip: {name} was adapted to the classes '
            f'{", ".join(trained_for)}, but the data set has '
            f'{", ".join(classes)}: adapt one to them (configs/clip/)'
        )
    if mode == 'softmax':
        chosen.setdefault('normal', NORMAL)
    check_keys('prompts', chosen, Prompts)
    return Prompts(tuple(classes), **chosen)


def regions_for(given: Optional[dict], saved: dict) -> RegionSettings:
    """An adapted model's way to embed boxes, with what was given.

    Args:
        given (dict, optional): Of :class:`RegionSettings`; each comes before
            the model's own.
        saved (dict): Settings of an adapted model; empty of others.

    Returns:
        RegionSettings: The settings.
    """
    chosen = {**(saved.get('regions') or {}), **(given or {})}
    check_keys('regions', chosen, RegionSettings)
    return RegionSettings(**chosen)


def check_keys(name: str, given: dict, settings: type) -> None:
    """Raise :class:`InputError` for a setting that there is not."""
    known = [x.name for x in fields(settings) if x.name != 'classes']
    for key in given:
        if key not in known:
            raise InputError(
                f'clip: {name} has no {key!r}: give some of {", ".join(known)}'
            )


def load_scorer(
    clip: str,
    classes: Sequence[str],
    mode: str = 'softmax',
    pretrained: Optional[str] = None,
    prompts: Optional[dict] = None,
    regions: Optional[dict] = None,
    cache_dir: Optional[str] = None,
    download_dir: Optional[str] = None,
    device: str = 'cpu',
) -> CLIPScorer:
    """Load a model and score with it as its settings say.

    Args:
        clip (str): As in :func:`load_clip`.
        classes (Sequence[str]): Of the data set.
        mode (str): As in :class:`CLIPScorer`. Defaults to ``'softmax'``.
        pretrained (str, optional): As in :func:`load_clip`.
        prompts (dict, optional): Of :class:`Prompts`. What is not given is
            the model's, or the paper's.
        regions (dict, optional): Of :class:`RegionSettings`. What is not
            given is the model's, or its own.
        cache_dir (str, optional): Of features.
        download_dir (str, optional): Of open_clip's downloads.
        device (str): Defaults to the CPU.

    Returns:
        CLIPScorer: The scorer.
    """
    loaded = load_clip(clip, pretrained, download_dir)
    saved = loaded.settings
    return CLIPScorer(
        loaded,
        prompts_for(classes, prompts, saved, mode, clip),
        regions_for(regions, saved),
        mode,
        cache_dir,
        device,
    )
