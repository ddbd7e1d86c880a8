"""Lists of images: text files with one image a line."""

import os.path as osp
from pathlib import Path
from typing import List

from .issues import DatasetError

SPLITS_ROOT = Path(__file__).parent / 'splits' / 'neu_det'


def published_splits() -> List[str]:
    """Names of NEU-DET's lists, which come with the package.

    Returns:
        list[str]: Names, sorted.
    """
    return sorted(path.stem for path in SPLITS_ROOT.glob('*.txt'))


def find_split(split: str, data_root: str = '') -> str:
    """Path of a published list or of a user's own.

    Args:
        split (str): Name of a published list, or path of a text file,
            absolute or relative to the working directory or to
            ``data_root``.
        data_root (str): Folder of the data set. Defaults to ''.

    Returns:
        str: Absolute path of the list.

    Raises:
        DatasetError: If there is neither such a list nor such a file.
    """
    names = published_splits()
    if split in names:
        return str(SPLITS_ROOT / f'{split}.txt')
    for path in (split, osp.join(data_root, split)):
        if osp.isfile(path):
            return osp.abspath(path)
    raise DatasetError(
        f'split={split!r} is neither a published list ({", ".join(names)}) '
        'nor an existing text file: use one of them'
    )


def read_list(path: str) -> List[str]:
    """Read a list; blank lines and spaces around names are skipped.

    Args:
        path (str): Text file.

    Returns:
        list[str]: Its entries in order.

    Raises:
        DatasetError: If the file is missing, no UTF-8, or lists nothing.
    """
    if not osp.isfile(path):
        raise DatasetError(
            f'image list {path} does not exist: set ann_file to a text file '
            "with one image a line, or to '' for all images"
        )
    try:
        with open(path, encoding='utf-8-sig') as file:
            entries = [line.strip() for line in file]
    except UnicodeDecodeError:
        raise DatasetError(
            f'image list {path} is no UTF-8: save it as UTF-8'
        ) from None
    entries = [entry for entry in entries if entry]
    if not entries:
        raise DatasetError(
            f'image list {path} is empty: write one image name a line'
        )
    return entries
