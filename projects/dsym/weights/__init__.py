"""Small weights that come with the package; README.md is their card."""

from difflib import get_close_matches
from pathlib import Path
from typing import Dict, Optional

from mmengine.runner import CheckpointLoader
from mmengine.runner.checkpoint import load_from_local

from ..errors import MissingFileError

PREFIX = 'dsym://'
DEFAULT_DETECTOR = f'{PREFIX}yolov9-t_neu-det-labeled20'
DEFAULT_CLIP = f'{PREFIX}clip-rn-t_neu-det-labeled20'
FOLDER = Path(__file__).resolve().parent


def embedded_names() -> list:
    """Names of the weights in the package.

    Returns:
        list[str]: Of files, without their ending, and of folders.
    """
    return sorted(
        x.stem
        for x in FOLDER.iterdir()
        if x.suffix == '.pth' or (x.is_dir() and not x.name.startswith('_'))
    )


def resolve_weights(path: str) -> str:
    """Turn ``dsym://NAME`` into a path; others stay as they are.

    Args:
        path (str): A path, a name of another library, or ``dsym://NAME``.

    Returns:
        str: The path.

    Raises:
        MissingFileError: If the package has no such weights.
    """
    if not str(path).startswith(PREFIX):
        return path
    name = str(path).removeprefix(PREFIX)
    for found in (FOLDER / f'{name}.pth', FOLDER / name):
        if name and found.exists():
            return str(found)
    names = embedded_names()
    near = get_close_matches(name, names, 3, 0.4) or names
    raise MissingFileError(
        f'{path}: the package has no such weights: give '
        + ' or '.join(PREFIX + x for x in near)
    )


@CheckpointLoader.register_scheme(prefixes=PREFIX)
def load_embedded(
    filename: str, map_location: Optional[str] = None, **kwargs
) -> Dict:
    """Load a checkpoint of the package: ``load_from='dsym://NAME'``."""
    return load_from_local(resolve_weights(filename), map_location)
