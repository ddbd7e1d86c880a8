"""The official YOLOv9 code, PyPI's ``yolo9``, as an importable peer."""

import importlib.util
import sys
from pathlib import Path
from typing import Optional


def find_official() -> Optional[Path]:
    """Make the official code importable.

    Returns:
        Path: Its folder; None if it is not installed.
    """
    spec = importlib.util.find_spec('yolo9')
    if spec is None:
        return None
    root = next(iter(spec.submodule_search_locations))
    # It imports its parts as top-level `models` and `utils`.
    if root not in sys.path:
        sys.path.append(root)
    return Path(root)


def import_official() -> Path:
    """Make the official code importable or end the process with one line.

    Returns:
        Path: Its folder.
    """
    root = find_official()
    if root is None:
        sys.exit(
            f'{Path(sys.argv[0]).name}: error: the official code is not '
            'installed: pip install --no-deps -r requirements/peers.txt'
        )
    return root
