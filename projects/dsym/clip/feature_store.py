import hashlib
import os
import os.path as osp
import sqlite3
import uuid
import zlib
from collections import OrderedDict
from contextlib import contextmanager
from pathlib import Path
from typing import Dict, Iterator, List, Optional, Sequence, Set, Tuple

import numpy as np
from mmengine.logging import print_log

from ..errors import InputError
from .unreadable_image import OUT_OF_FILES, UnreadableImageError

MAPS = 64  # open shards; each takes a file descriptor ...
MAP_BYTES = 2**28  # ... and what was read of them counts as memory
# errors of a shard that is lost, unlike those of a moment
DAMAGE = (FileNotFoundError, ValueError, EOFError)
# A file of the index is read once; another version begins anew.
TABLES = """
CREATE TABLE IF NOT EXISTS files (
    path BLOB PRIMARY KEY, size INTEGER, mtime INTEGER, digest TEXT);
CREATE TABLE IF NOT EXISTS rows (
    digest TEXT PRIMARY KEY, shard TEXT, row INTEGER);
CREATE TABLE IF NOT EXISTS shards (name TEXT PRIMARY KEY, crc INTEGER);
"""


class FeatureStore:
    """Features of images in a folder, by the hash of each file's content.

    A renamed image is found, a changed one is another. Features are float16
    in shards of ``.npy``, read through a memory map; which image is where
    stands in an SQLite index. A shard is renamed into place before the index
    names it: a killed run loses at most the shard it was working on. A shard
    with a wrong checksum is forgotten, with a warning.

    Args:
        folder (Path): Made when it is needed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._maps: OrderedDict[str, np.ndarray] = OrderedDict()
        self._sound: Set[str] = set()  # shards whose checksum was right
        self._index: Optional[sqlite3.Connection] = None

    @property
    def index(self) -> sqlite3.Connection:
        """The open index; a damaged one is replaced, with a warning."""
        if self._index is None:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise InputError(
                    f'clip: {self.folder} cannot be made ({error.strerror}): '
                    'give another cache_dir'
                ) from None
            path = self.folder / 'index.sqlite'
            try:
                self._index = open_index(path)
            except sqlite3.OperationalError as error:
                raise InputError(
                    f'clip: {path} cannot be opened ({error}): give another '
                    'cache_dir'
                ) from error
            except sqlite3.DatabaseError as error:
                warn(f'{path} is damaged ({error}); features are made anew')
                for file in self.folder.glob('index.sqlite*'):
                    file.unlink()
                self._index = open_index(path)
        return self._index

    def digests(
        self, paths: Sequence[str], skipped: Optional[List[str]] = None
    ) -> Dict[str, str]:
        """Hash files, then write what is new: others wait for no reading.

        Args:
            paths (Sequence[str]): Image files.
            skipped (list[str], optional): Gets those that cannot be read.
                Defaults to None: such a file is an error.

        Returns:
            dict[str, str]: Hashes by path.
        """
        found: Dict[str, str] = {}
        new = []
        for path in paths:
            place = osp.abspath(path)
            try:
                stat = os.stat(place)
                stamp = (stat.st_size, stat.st_mtime_ns)
                known = self.index.execute(
                    'SELECT size, mtime, digest FROM files WHERE path = ?',
                    (os.fsencode(place),),
                ).fetchone()
                if known and known[:2] == stamp:
                    found[path] = known[2]
                    continue
                content = Path(place).read_bytes()
            except OSError as error:
                if error.errno in OUT_OF_FILES:
                    raise
                if skipped is None:
                    why = f'({error.strerror})'
                    raise UnreadableImageError(place, why) from None
                skipped.append(path)
                continue
            digest = hashlib.blake2b(content, digest_size=16).hexdigest()
            found[path] = digest
            new.append((os.fsencode(place), *stamp, digest))
        if new:
            with self._writing():
                self.index.executemany(
                    'REPLACE INTO files VALUES (?, ?, ?, ?)', new
                )
        return found

    def get(self, digest: str) -> Optional[np.ndarray]:
        """Features of an image, or None where they have to be made.

        A copy: a view would keep its shard's map open.
        """
        found = self._place(digest)
        if found is None:
            return None
        name, row = found
        try:
            return np.array(self._shard(name)[row])
        except DAMAGE as error:  # since its checksum was looked at
            self._forget(name, error)
            return None

    def __contains__(self, digest: str) -> bool:
        """Whether an image's features are here, in a sound shard."""
        return self._place(digest) is not None

    def add(self, digests: List[str], features: np.ndarray) -> None:
        """Add a shard.

        Raises:
            InputError: If the disk is full or refuses.
        """
        name = f'{uuid.uuid4().hex}.npy'
        temporary = self.folder / f'{name}.tmp'
        rows = [(x, name, i) for i, x in enumerate(digests)]
        shard = (name, checksum(features))
        try:
            with temporary.open('wb') as file:
                np.save(file, features)
            os.replace(temporary, self.folder / name)
            with self.index:
                self.index.executemany(
                    'REPLACE INTO rows VALUES (?, ?, ?)', rows
                )
                self.index.execute('REPLACE INTO shards VALUES (?, ?)', shard)
        except (OSError, sqlite3.OperationalError) as error:
            for part in (temporary, self.folder / name):
                part.unlink(missing_ok=True)
            raise self._refusal(error) from None

    def _place(self, digest: str) -> Optional[Tuple[str, int]]:
        """Shard and row of an image whose shard is sound."""
        found = self.index.execute(
            'SELECT shard, row, crc FROM rows JOIN shards ON shard = name '
            'WHERE digest = ?',
            (digest,),
        ).fetchone()
        if found is None:
            return None
        name, row, crc = found
        if name not in self._sound:
            try:
                if checksum(self._shard(name)) != crc:
                    raise ValueError('wrong checksum')
            except DAMAGE as error:
                self._forget(name, error)
                return None
            self._sound.add(name)
        return name, row

    def _shard(self, name: str) -> np.ndarray:
        """The memory map of a shard; those used longest ago are closed."""
        if name not in self._maps:
            self._maps[name] = np.load(self.folder / name, mmap_mode='r')
            size = sum(x.nbytes for x in self._maps.values())
            while len(self._maps) > 1 and (
                len(self._maps) > MAPS or size > MAP_BYTES
            ):
                size -= self._maps.popitem(last=False)[1].nbytes
        self._maps.move_to_end(name)
        return self._maps[name]

    def _forget(self, name: str, error: Exception) -> None:
        """Take a damaged shard out of the index, with a warning."""
        warn(f'{self.folder / name}: {error}; its features are made anew')
        self._maps.pop(name, None)
        self._sound.discard(name)
        with self._writing():
            self.index.execute('DELETE FROM rows WHERE shard=?', (name,))
            self.index.execute('DELETE FROM shards WHERE name=?', (name,))

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """A transaction of the index.

        Raises:
            InputError: If the disk is full or refuses.
        """
        try:
            with self.index:
                yield
        except sqlite3.OperationalError as error:
            raise self._refusal(error) from None

    def _refusal(self, error: Exception) -> InputError:
        """What to do where the folder cannot be written."""
        why = getattr(error, 'strerror', None) or error
        return InputError(
            f'clip: {self.folder} cannot be written ({why}): make room '
            'there, or give another cache_dir'
        )


def open_index(path: Path) -> sqlite3.Connection:
    """Open or make an index; other processes wait for a writer."""
    index = sqlite3.connect(path, timeout=60, check_same_thread=False)
    (state,) = index.execute('PRAGMA quick_check(1)').fetchone()
    if state != 'ok':
        index.close()
        raise sqlite3.DatabaseError(state)
    index.executescript(TABLES)
    return index


def checksum(features: np.ndarray) -> int:
    """CRC of an array's bytes."""
    return zlib.crc32(np.ascontiguousarray(features).data)


def warn(text: str) -> None:
    """Log a warning."""
    print_log(f'clip cache: {text}', 'current', 30)
