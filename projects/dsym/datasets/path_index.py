"""Lists of millions of paths that stay on disk."""

import hashlib
import os
import socket
import sqlite3
import uuid
from codecs import BOM_UTF8
from contextlib import closing
from pathlib import Path
from typing import Iterator, List, Optional, Sequence, Tuple, Union

import numpy as np
from filelock import FileLock
from mmengine.dist import (
    all_gather_object,
    broadcast_object_list,
    is_main_process,
)

from .file_index import IMAGE_SUFFIXES
from .issues import DatasetError

# bytes of a list that are looked at together, with a few times as many for
# what is computed of them
BLOCK = 1 << 17
NEWLINE = 10
IS_SPACE = np.array([bytes([x]).isspace() for x in range(256)])


class PathIndex:
    """The lines of a text file, found without reading the others.

    Where lines begin is written once to a file of 8 bytes a line, which is
    mapped into memory, as the list is: of both only what is asked for is read.
    A list that has changed gets a new one.

    Args:
        list_file (str or Path): A path a line, in the bytes of the file
            system. Blank lines do not count.
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
        name = hashlib.blake2b(os.fsencode(key), digest_size=8).hexdigest()
        self.starts_file = Path(cache_dir) / f'{name}.lines'
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
        """Number of lines that are not blank."""
        return self.length

    def __getitem__(self, index: int) -> str:
        """The line of an index, without its end and spaces around it.

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
            return os.fsdecode(file.readline().strip())


def write_starts(list_file: Path, starts_file: Path) -> None:
    """Write where the lines of a file begin that are not blank.

    Args:
        list_file (Path): The file.
        starts_file (Path): Little-endian numbers of 8 bytes; there when it
            is whole.
    """
    temporary = starts_file.with_suffix(f'.{uuid.uuid4().hex}.tmp')
    with list_file.open('rb') as file, temporary.open('wb') as out:
        # Windows editors mark UTF-8
        base = len(BOM_UTF8) if file.read(len(BOM_UTF8)) == BOM_UTF8 else 0
        file.seek(base)
        while block := file.read(BLOCK) + file.readline():
            content = np.frombuffer(block, np.uint8)
            ends = np.flatnonzero(content == NEWLINE) + 1
            if not block.endswith(b'\n'):
                ends = np.append(ends, len(block))
            starts = np.append(0, ends[:-1])
            blank = IS_SPACE[content[starts]]
            for i in np.flatnonzero(blank):
                blank[i] = block[starts[i] : ends[i]].isspace()
            (starts[~blank] + base).astype('<u8').tofile(out)
            base += len(block)
    temporary.replace(starts_file)


def scan_folder(
    folder: Union[str, Path],
    suffixes: Sequence[str] = (),
    skip: Optional[Path] = None,
) -> Iterator[Tuple[bool, bytes]]:
    """Look into a folder, in the order of the file system.

    Args:
        folder (str or Path): The folder; one that is gone is empty.
        suffixes (Sequence[str]): In lower case. Defaults to (), all files.
        skip (Path, optional): A folder that is left out, resolved.

    Yields:
        tuple[bool, bytes]: Whether it is a folder, and the name. Hidden ones
        and other files are left out.

    Raises:
        DatasetError: If it cannot be read.
    """
    suffixes = tuple(suffixes) or ''  # all names end with ''
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith('.'):
                    continue
                if entry.is_dir():
                    if skip is None or Path(entry.path).resolve() != skip:
                        yield True, os.fsencode(entry.name)
                elif entry.name.lower().endswith(suffixes):
                    yield False, os.fsencode(entry.name)
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:
        raise DatasetError(
            f'{error.filename or folder!r} cannot be read ({error.strerror}): '
            'make it readable or move it elsewhere'
        ) from None


def walk_files(
    folder: Union[str, Path],
    suffixes: Sequence[str] = (),
    skip: Optional[Path] = None,
) -> Iterator[str]:
    """Paths of the files of a folder and its subfolders, in order.

    SQLite sorts the names of a folder, in temporary files where they are many
    (in ``SQLITE_TMPDIR`` or ``TMPDIR``): memory does not grow with them. The
    order of UTF-8's bytes is that of Python's texts.

    Args:
        folder (str or Path): The folder.
        suffixes (Sequence[str]): In lower case. Defaults to (), all files.
        skip (Path, optional): A subfolder that is left out, resolved.

    Yields:
        str: One after the other, a folder's own before its subfolders'.

    Raises:
        DatasetError: If a folder cannot be read.
    """
    # '' is a database of its own on disk, which goes when it is closed
    with closing(sqlite3.connect('')) as names:
        names.execute('CREATE TABLE names (is_folder, name)')
        names.executemany(
            'INSERT INTO names VALUES (?, ?)',
            scan_folder(folder, suffixes, skip),
        )
        order = 'SELECT is_folder, name FROM names ORDER BY is_folder, name'
        for is_folder, name in names.execute(order):
            path = os.path.join(folder, os.fsdecode(name))
            if is_folder:
                yield from walk_files(path, suffixes, skip)
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
        DatasetError: If the folder does not exist or holds no image, or if a
            name has a newline, which would be two lines.
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
    temporary = cache_dir / f'{uuid.uuid4().hex}.tmp'
    try:
        with temporary.open('wb') as out:
            for path in walk_files(folder, IMAGE_SUFFIXES):
                if '\n' in path:
                    raise DatasetError(
                        f'{path!r} has a newline in its name: rename it'
                    )
                line = os.fsencode(path) + b'\n'
                content.update(line)
                out.write(line)
        if not temporary.stat().st_size:
            raise DatasetError(
                f'folder {folder!r} holds no image '
                f'({", ".join(IMAGE_SUFFIXES)}): set data_root to a folder of '
                'images'
            )
        list_file = cache_dir / f'{content.hexdigest()}.txt'
        if not list_file.is_file():
            temporary.replace(list_file)
    finally:
        temporary.unlink(missing_ok=True)
    return list_file


def list_once(folder: Union[str, Path], cache_dir: Union[str, Path]) -> Path:
    """Let rank 0 list a folder for all ranks.

    Lists of their own would differ where an image comes in meanwhile: other
    lengths, other orders, and ranks that wait for steps of each other.

    Args:
        folder (str or Path): As of :func:`list_folder`, on rank 0.
        cache_dir (str or Path): As there; on a disk of all nodes.

    Returns:
        Path: The list, the same on all ranks.

    Raises:
        DatasetError: On all ranks, if rank 0 cannot list the folder or a rank
            does not find the list.
    """
    told: List[Optional[str]] = [None, None]
    if is_main_process():
        try:
            told[0] = os.path.abspath(list_folder(folder, cache_dir))
        except DatasetError as error:
            told[1] = str(error)
        except OSError as error:  # e.g. a full disk
            told[1] = f'the list of {folder} cannot be written: {error}'
    broadcast_object_list(told)
    list_file, error = told
    if error:
        raise DatasetError(error)
    # a rank that stopped alone would leave the others waiting for it
    host = '' if os.path.isfile(list_file) else socket.gethostname()
    missing = sorted({*filter(None, all_gather_object(host))})
    if missing:
        raise DatasetError(
            f'{list_file}, which rank 0 wrote, does not exist on '
            f'{", ".join(missing)}: set DSYM_CACHE, or cache_dir of the data '
            'set, to a folder on a disk that all nodes share'
        )
    return Path(list_file)
