import hashlib
import os
import os.path as osp
import sqlite3
import uuid
import zlib
from itertools import islice
from pathlib import Path
from typing import (
    Callable,
    Dict,
    Iterable,
    List,
    Optional,
    Sequence,
    Union,
)

import numpy as np
import torch
from mmengine.dist import is_main_process
from mmengine.logging import print_log
from torch import Tensor
from tqdm import tqdm

from ..errors import InputError

PART = 16  # shards whose images are looked up together
# A file of the index is read once; another version begins anew.
TABLES = """
CREATE TABLE IF NOT EXISTS files (
    path TEXT PRIMARY KEY, size INTEGER, mtime INTEGER, digest TEXT);
CREATE TABLE IF NOT EXISTS rows (
    digest TEXT PRIMARY KEY, shard TEXT, row INTEGER);
CREATE TABLE IF NOT EXISTS shards (name TEXT PRIMARY KEY, crc INTEGER);
"""


def default_cache_dir() -> Path:
    """Folder of cached features.

    Returns:
        Path: ``$DSYM_CACHE`` or ``$XDG_CACHE_HOME/dsym`` or
        ``~/.cache/dsym``, with ``clip`` below it.
    """
    base = os.environ.get('XDG_CACHE_HOME') or '~/.cache'
    root = os.environ.get('DSYM_CACHE') or f'{base}/dsym'
    return Path(root).expanduser() / 'clip'


class FeatureCache:
    """Features of image files on disk, made once.

    An image is known by the hash of its file's content, so that a renamed one
    is found and a changed one made anew. Features are float16 in shards of
    ``.npy``, read through a memory map; which image is where stands in an
    SQLite index. A shard is renamed into place before the index names it: a
    killed run loses at most the shard it was working on. A shard with a wrong
    checksum is made again, with a warning.

    Args:
        encode (callable): From paths to features ``(N, ...)``, all of one
            shape.
        key (str): Names model and settings; another key is another folder.
        folder (str or Path, optional): Defaults to
            :func:`default_cache_dir`.
        batch_size (int): Images encoded at once. Defaults to 32.
        shard_size (int): Images of a shard. Defaults to 256.
    """

    def __init__(
        self,
        encode: Callable[[Sequence[str]], Tensor],
        key: str,
        folder: Optional[Union[str, Path]] = None,
        batch_size: int = 32,
        shard_size: int = 256,
    ) -> None:
        self.encode = encode
        self.folder = Path(folder or default_cache_dir()).expanduser() / key
        self.batch_size = batch_size
        self.shard_size = shard_size
        self._maps: Dict[str, np.ndarray] = {}
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

    def digest(self, path: str) -> str:
        """Hash a file's content, or take the hash of when it was last so.

        Args:
            path (str): Image file.

        Returns:
            str: 32 hexadecimal digits.

        Raises:
            InputError: If there is no such file.
        """
        path = osp.abspath(path)
        try:
            stat = os.stat(path)
        except OSError as error:
            raise InputError(
                f'clip: {path} cannot be read ({error.strerror}): restore it '
                'or take it off the list'
            ) from None
        stamp = (stat.st_size, stat.st_mtime_ns)
        known = self.index.execute(
            'SELECT size, mtime, digest FROM files WHERE path = ?', (path,)
        ).fetchone()
        if known and known[:2] == stamp:
            return known[2]
        content = Path(path).read_bytes()
        digest = hashlib.blake2b(content, digest_size=16).hexdigest()
        self.index.execute(
            'REPLACE INTO files VALUES (?, ?, ?, ?)', (path, *stamp, digest)
        )
        return digest

    def warm(self, paths: Iterable[str]) -> int:
        """Make what is missing, in batches, with a progress bar.

        Args:
            paths (Iterable[str]): Image files; of a generator only so many
                as :data:`PART` shards hold are in memory.

        Returns:
            int: How many features were made.
        """
        made, paths = 0, iter(paths)
        with tqdm(
            desc='CLIP features',
            unit='img',
            delay=2,
            disable=not is_main_process(),
        ) as bar:
            while part := [*islice(paths, PART * self.shard_size)]:
                made += self._warm_part(part, bar)
        return made

    def _warm_part(self, paths: List[str], bar: tqdm) -> int:
        """Make what is missing of some images."""
        missing: Dict[str, str] = {}
        with self.index:  # one transaction for all
            for path in paths:
                digest = self.digest(path)
                if self._place(digest) is None:
                    missing.setdefault(digest, path)
        bar.update(len(paths) - len(missing))
        digests = [*missing]
        for start in range(0, len(digests), self.shard_size):
            part = digests[start : start + self.shard_size]
            features = []
            for i in range(0, len(part), self.batch_size):
                batch = part[i : i + self.batch_size]
                features.append(self._encode([missing[x] for x in batch]))
                bar.update(len(batch))
            self._write(part, np.concatenate(features))
        return len(digests)

    def __call__(self, paths: Sequence[str]) -> Tensor:
        """Read features; those that are missing are made.

        Args:
            paths (Sequence[str]): Image files.

        Returns:
            Tensor: ``(N, ...)``, float32.
        """
        self.warm(paths)
        features = []
        for path in paths:
            shard, row = self._place(self.digest(path))
            features.append(self._maps[shard][row])
        return torch.from_numpy(np.stack(features).astype(np.float32))

    def _encode(self, paths: List[str]) -> np.ndarray:
        features = self.encode(paths).half()
        finite = features.flatten(1).isfinite().all(1)
        if not finite.all():
            raise InputError(
                f'clip: features of {paths[int(finite.int().argmin())]} are '
                'not finite in float16: check the model'
            )
        return features.cpu().numpy()

    def _place(self, digest: str) -> Optional[tuple]:
        """Shard and row of an image whose shard is sound."""
        found = self.index.execute(
            'SELECT shard, row, crc FROM rows JOIN shards ON shard = name '
            'WHERE digest = ?',
            (digest,),
        ).fetchone()
        if found is None or found[0] in self._maps:
            return found and found[:2]
        name, row, crc = found
        try:
            shard = np.load(self.folder / name, mmap_mode='r')
            if checksum(shard) != crc:
                raise ValueError('wrong checksum')
        except (OSError, ValueError, EOFError) as error:
            warn(f'{self.folder / name}: {error}; its features are made anew')
            with self.index:
                self.index.execute('DELETE FROM rows WHERE shard=?', (name,))
                self.index.execute('DELETE FROM shards WHERE name=?', (name,))
            return None
        self._maps[name] = shard
        return name, row

    def _write(self, digests: List[str], features: np.ndarray) -> None:
        """Add a shard."""
        name = f'{uuid.uuid4().hex}.npy'
        temporary = self.folder / f'{name}.tmp'
        with temporary.open('wb') as file:
            np.save(file, features)
        os.replace(temporary, self.folder / name)
        rows = [(x, name, i) for i, x in enumerate(digests)]
        with self.index:
            self.index.executemany('REPLACE INTO rows VALUES (?, ?, ?)', rows)
            self.index.execute(
                'REPLACE INTO shards VALUES (?, ?)', (name, checksum(features))
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
