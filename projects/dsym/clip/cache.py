import errno
import hashlib
import os
import os.path as osp
import sqlite3
import uuid
import zlib
from collections import OrderedDict
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import (
    Callable,
    Dict,
    Iterable,
    Iterator,
    List,
    Optional,
    Sequence,
    Set,
    Tuple,
    Union,
)

import numpy as np
import torch
from mmengine.dist import all_gather_object, get_dist_info, is_main_process
from mmengine.logging import print_log
from torch import Tensor
from tqdm import tqdm

from ..cache_folder import cache_folder
from ..errors import InputError

PART = 16  # shards whose images are looked up together
MAPS = 64  # open shards; each takes a file descriptor ...
MAP_BYTES = 2**28  # ... and what was read of them counts as memory
NAMED = 3  # unreadable images that a warning names
# errors that say nothing about the file
OUT_OF_FILES = (errno.EMFILE, errno.ENFILE)
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


class UnreadableImageError(InputError):
    """An image file that cannot be read.

    Args:
        path (str): The file.
        why (str): What is wrong with it.

    Attributes:
        path (str): The file.
    """

    def __init__(self, path: str, why: str = '') -> None:
        super().__init__(
            f'clip: {path} cannot be read {why}: restore it or take it off '
            'the list'
        )
        self.path = path


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
            shape; raises :class:`UnreadableImageError`.
        key (str): Names model and settings; another key is another folder.
        folder (str or Path, optional): Defaults to
            :func:`cache_folder`.
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
        self.folder = Path(folder or cache_folder('clip')).expanduser() / key
        self.batch_size = batch_size
        self.shard_size = shard_size
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

    def digest(self, path: str) -> str:
        """Hash a file's content, or take the hash of when it was last so.

        Args:
            path (str): Image file.

        Returns:
            str: 32 hexadecimal digits.

        Raises:
            UnreadableImageError: If it cannot be read.
        """
        return self._digests([path])[path]

    def _digests(
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

    def warm(
        self,
        paths: Iterable[str],
        skip: bool = False,
        share: bool = False,
    ) -> int:
        """Make what is missing, in batches, with a progress bar.

        Args:
            paths (Iterable[str]): Image files; of a generator only so many
                as :data:`PART` shards hold are in memory.
            skip (bool): Leave out images that cannot be read, with one
                warning that counts them. Defaults to False.
            share (bool): Leave to each of n ranks every n-th image, and wait
                for the others. Defaults to False.

        Returns:
            int: How many features this process made.

        Raises:
            UnreadableImageError: Unless such images are to be left out.
        """
        rank, world_size = get_dist_info() if share else (0, 1)
        made, paths = 0, islice(paths, rank, None, world_size)
        skipped: Optional[List[str]] = [] if skip else None
        with tqdm(
            desc='CLIP features',
            unit='img',
            delay=2,
            disable=not is_main_process(),
        ) as bar:
            while part := [*islice(paths, PART * self.shard_size)]:
                made += self._warm_part(part, bar, skipped)
        if share:
            # one warning, whichever rank met them
            of_all = all_gather_object(skipped or [])
            skipped = []
            if is_main_process():
                skipped = [path for part in of_all for path in part]
        if skipped:
            more = ', ...' if len(skipped) > NAMED else ''
            warn(
                f'{len(skipped)} images cannot be read and are left out: '
                f'{", ".join(map(repr, skipped[:NAMED]))}{more}'
            )
        return made

    def _warm_part(
        self, paths: List[str], bar: tqdm, skipped: Optional[List[str]]
    ) -> int:
        """Make what is missing of some images."""
        missing: Dict[str, str] = {}
        for path, digest in self._digests(paths, skipped).items():
            if self._place(digest) is None:
                missing.setdefault(digest, path)
        bar.update(len(paths) - len(missing))
        digests, made = [*missing], 0
        for start in range(0, len(digests), self.shard_size):
            part = digests[start : start + self.shard_size]
            features: Dict[str, np.ndarray] = {}
            for i in range(0, len(part), self.batch_size):
                batch = {x: missing[x] for x in part[i : i + self.batch_size]}
                features.update(self._encode_readable(batch, skipped))
                bar.update(len(batch))
            if features:
                self._write([*features], np.stack([*features.values()]))
            made += len(features)
        return made

    def _encode_readable(
        self, batch: Dict[str, str], skipped: Optional[List[str]]
    ) -> Dict[str, np.ndarray]:
        """Features by hash, of paths by hash."""
        while batch:
            try:
                return dict(zip(batch, self._encode([*batch.values()])))
            except UnreadableImageError as error:
                if skipped is None:
                    raise
                bad = error.path
            skipped.append(bad)
            batch = {key: path for key, path in batch.items() if path != bad}
        return {}

    def __call__(self, paths: Sequence[str]) -> Tensor:
        """Read features; those that are missing are made.

        Args:
            paths (Sequence[str]): Image files.

        Returns:
            Tensor: ``(N, ...)``, float32.
        """
        self.warm(paths)
        features = np.stack([self._row(path) for path in paths])
        return torch.from_numpy(features.astype(np.float32))

    def _row(self, path: str) -> np.ndarray:
        """A copy of an image's features: a view would keep its map open."""
        while True:
            found = self._place(self.digest(path))
            if found is None:  # lost with the shard of an image before
                self.warm([path])
                continue
            name, row = found
            try:
                return np.array(self._shard(name)[row])
            except DAMAGE as error:  # since its checksum was looked at
                self._forget(name, error)

    def _encode(self, paths: List[str]) -> np.ndarray:
        features = self.encode(paths).half()
        finite = features.flatten(1).isfinite().all(1)
        if not finite.all():
            raise InputError(
                f'clip: features of {paths[int(finite.int().argmin())]} are '
                'not finite in float16: check the model'
            )
        return features.cpu().numpy()

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

    def _write(self, digests: List[str], features: np.ndarray) -> None:
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
