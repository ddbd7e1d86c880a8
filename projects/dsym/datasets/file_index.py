"""Find images and annotation files below a folder."""

import filecmp
import os
import os.path as osp
from typing import Dict, List, NoReturn, Sequence, Tuple

from .issues import DatasetError, Issue

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.tif', '.tiff', '.webp')


def refuse(error: OSError) -> NoReturn:
    """Stop at a folder whose files would be left out without a word."""
    raise DatasetError(
        f'{error.filename} cannot be read ({error.strerror}): allow it or '
        'move the folder away'
    ) from None


def is_searched(parent: str, name: str) -> bool:
    """Whether a subfolder is neither hidden nor a link that leads back up."""
    if name.startswith('.'):
        return False
    real = osp.realpath(osp.join(parent, name))
    return not osp.join(osp.realpath(parent), '').startswith(
        osp.join(real, '')
    )


def index_files(
    folders: Sequence[str],
    suffixes: Sequence[str],
    by_tree: bool = False,
    skip: Sequence[str] = (),
) -> Tuple[Dict[str, str], List[Issue]]:
    """List the files of some suffixes below some folders by their name.

    Hidden files and folders are left out, as are links to a folder that they
    lie in. Two identical files of one name count once.

    Args:
        folders (Sequence[str]): Folders to look through, with subfolders.
        suffixes (Sequence[str]): Suffixes in lower case; case is ignored.
        by_tree (bool): Name a file by its path below the folder instead of
            by its stem alone. Defaults to False.
        skip (Sequence[str]): File names to leave out. Defaults to ().

    Returns:
        tuple[dict[str, str], list[Issue]]: Path by name (without suffix,
        with ``/``), and the names that two different files share.

    Raises:
        DatasetError: If a folder cannot be read.
    """
    found: Dict[str, str] = {}
    issues: List[Issue] = []
    for folder in folders:
        for parent, subfolders, files in os.walk(
            folder, onerror=refuse, followlinks=True
        ):
            subfolders[:] = sorted(
                name for name in subfolders if is_searched(parent, name)
            )
            for file in sorted(files):
                stem, suffix = osp.splitext(file)
                if (
                    suffix.lower() not in suffixes
                    or file.startswith('.')
                    or file in skip
                ):
                    continue
                path = osp.join(parent, file)
                name = stem
                if by_tree:
                    name = osp.relpath(osp.join(parent, stem), folder)
                    name = name.replace(os.sep, '/')
                if name not in found:
                    found[name] = path
                elif filecmp.cmp(found[name], path, shallow=False):
                    issues.append(
                        Issue(
                            'repeated_file',
                            path,
                            f'{path} is the same file as {found[name]}',
                        )
                    )
                else:
                    issues.append(
                        Issue(
                            'ambiguous_name',
                            path,
                            f'{path} and {found[name]} share the name '
                            f'{name!r}, by which annotations are found: '
                            'rename one',
                        )
                    )
    return found, issues
