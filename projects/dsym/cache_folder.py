import os
from pathlib import Path


def cache_folder(name: str) -> Path:
    """Where what can be made again is kept between runs.

    Args:
        name (str): What is kept there, such as 'clip'.

    Returns:
        Path: ``$DSYM_CACHE`` or ``$XDG_CACHE_HOME/dsym`` or
        ``~/.cache/dsym``, with ``name`` below it. It need not exist.
    """
    base = os.environ.get('XDG_CACHE_HOME') or '~/.cache'
    root = os.environ.get('DSYM_CACHE') or f'{base}/dsym'
    return Path(root).expanduser() / name
