"""Lists of millions of paths that stay on disk."""

import hashlib
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Iterator, Sequence, Tuple, Union

import numpy as np
from filelock import FileLock

from .file_index import IMAGE_SUFFIXES
from .issues import DatasetError

# bytes of a list that are looked at together, with 20 times as many for what
# is computed of them
BLOCK = 1 << 17
NEWLINE, RETURN = 10, 13


class PathIndex:
    """The lines of a text file, found without reading the others.

    Where lines begin is written once to a file of 8 bytes a line, which is
    mapped into memory, as the list is: of both only what is asked for is read.
    A list that has changed gets a new one.

    Args:
        list_file (str or Path): A path a line, UTF-8. Empty lines do not
            count.
        cache_dir (str or Path): Where the places of lines are kept.

    Raises:
        DatasetError: If the list is missing or empty.
    """

    def __init__(
        self, list_file: Union[str, Path], cache_dir: Union[str, Path]
    ) -> None:
        self.list_file = Path(list_file)
        if not self.list_file.is_file():
            raise DatasetError(
                f'{list_file} does not exist: give a text file with the path '
                'of an image a line'
            )
        stat = self.list_file.stat()
        key = f'{self.list_file.resolve()} {stat.st_size} {stat.st_mtime_ns}'
        name = hashlib.blake2b(key.encode(), digest_size=8).hexdigest()
        self.starts_file = Path(cache_dir) / f'{name}.starts'
        self.starts_file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f'{self.starts_file}.lock'):
            if not self.starts_file.is_file():
                write_starts(self.list_file, self.starts_file)
        self.length = self.starts_file.stat().st_size // 8
        if not self.length:
            raise DatasetError(
                f'{list_file} has no line: write the path of an image a line'
            )

    def __len__(self) -> int:
        """Number of lines that are not empty."""
        return self.length

    def __getitem__(self, index: int) -> str:
        """The line of an index, without its end.

        Raises:
            IndexError: If there is no such line.
        """
        if not 0 <= index < self.length:
            raise IndexError(index)
        with self.starts_file.open('rb') as file:
            file.seek(8 * int(index))
            start = int.from_bytes(file.read(8), 'little')
        with self.list_file.open('rb') as file:
            file.seek(start)
            return file.readline().rstrip(b'\r\n').decode()


def write_starts(list_file: Path, starts_file: Path) -> None:
    """Write where the lines of a file begin that are not empty.

    Args:
        list_file (Path): The file.
        starts_file (Path): Little-endian numbers of 8 bytes; there when it
            is whole.
    """
    temporary = starts_file.with_suffix(f'.{os.getpid()}.tmp')
    with list_file.open('rb') as file, temporary.open('wb') as out:
        base, before = 0, NEWLINE  # the byte before the block
        while block := file.read(BLOCK):
            content = np.frombuffer(block, np.uint8)
            previous = np.concatenate([[before], content[:-1]])
            # CR counts as an end, so that a line of CR LF is empty
            begins = previous == NEWLINE
            begins &= (content != NEWLINE) & (content != RETURN)
            (np.flatnonzero(begins) + base).astype('<u8').tofile(out)
            base, before = base + len(block), block[-1]
    temporary.replace(starts_file)


def scan_images(
    folder: Union[str, Path], suffixes: Sequence[str]
) -> Iterator[Tuple[bool, bytes]]:
    """Look into a folder, in the order of the file system.

    Args:
        folder (str or Path): The folder.
        suffixes (Sequence[str]): In lower case.

    Yields:
        tuple[bool, bytes]: Whether it is a folder, and the name. Hidden ones
        and other files are left out.
    """
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith('.'):
                continue
            is_folder = entry.is_dir()
            if is_folder or entry.name.lower().endswith(tuple(suffixes)):
                yield is_folder, os.fsencode(entry.name)


def walk_images(
    folder: Union[str, Path], suffixes: Sequence[str] = IMAGE_SUFFIXES
) -> Iterator[str]:
    """Paths of the images of a folder and its subfolders, in order.

    SQLite sorts the names of a folder, in temporary files where they are many
    (in ``SQLITE_TMPDIR`` or ``TMPDIR``): memory does not grow with them. The
    order of UTF-8's bytes is that of Python's texts.

    Args:
        folder (str or Path): The folder.
        suffixes (Sequence[str]): In lower case.

    Yields:
        str: One after the other, a folder's own before its subfolders'.
    """
    # '' is a database of its own on disk, which goes when it is closed
    with closing(sqlite3.connect('')) as names:
        names.execute('CREATE TABLE names (is_folder, name)')
        names.executemany(
            'INSERT INTO names VALUES (?, ?)', scan_images(folder, suffixes)
        )
        order = 'SELECT is_folder, name FROM names ORDER BY is_folder, name'
        for is_folder, name in names.execute(order):
            path = os.path.join(folder, os.fsdecode(name))
            if is_folder:
                yield from walk_images(path, suffixes)
            else:
                yield path


def list_folder(folder: Union[str, Path], cache_dir: Union[str, Path]) -> Path:
    """Write the images of a folder into a list named by its content.

    A folder that has changed gets another list: the one that a training reads
    is never written again.

    Args:
        folder (str or Path): The folder.
        cache_dir (str or Path): Where lists are kept.

    Returns:
        Path: The list, of absolute paths.

    Raises:
        DatasetError: If the folder does not exist or holds no image.
    """
    if not os.path.isdir(folder):
        raise DatasetError(
            f'folder {str(folder)!r} does not exist: set data_root to a '
            f'folder of images (looked from {os.getcwd()})'
        )
    folder = os.path.abspath(folder)
    cache_dir = Path(cache_dir)
    cache_dir.mkdir(parents=True, exist_ok=True)
    content = hashlib.blake2b(digest_size=8)
    name = hashlib.blake2b(folder.encode(), digest_size=8).hexdigest()
    temporary = cache_dir / f'{name}.{os.getpid()}.tmp'
    with temporary.open('wb') as out:
        for path in walk_images(folder):
            line = f'{path}\n'.encode()
            content.update(line)
            out.write(line)
    list_file = cache_dir / f'{content.hexdigest()}.txt'
    if not temporary.stat().st_size:
        temporary.unlink()
        raise DatasetError(
            f'folder {folder} holds no image ({", ".join(IMAGE_SUFFIXES)}): '
            'set data_root to a folder of images'
        )
    if list_file.is_file():
        temporary.unlink()
    else:
        temporary.replace(list_file)
    return list_file
