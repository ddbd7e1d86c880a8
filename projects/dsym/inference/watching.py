"""A folder that images come into, and the memory of what has been seen."""

import json
import signal
import time
from pathlib import Path
from types import FrameType
from typing import (
    Any,
    Callable,
    Dict,
    Iterator,
    Optional,
    Sequence,
    Set,
    Tuple,
)

from filelock import FileLock, Timeout

from ..errors import InputError
from .sources import Frame, read_frame, walk_names

JOURNAL = 'journal.jsonl'
SLICE = 0.1  # seconds of sleep between looks at the stop request

Stamp = Tuple[int, int]


class StopRequest:
    """Ctrl-C and SIGTERM as a question that is asked between two batches.

    A second signal ends at once, as without it.
    """

    def __init__(self) -> None:
        self.asked = False
        self._before: Dict[int, Any] = {}

    def __enter__(self) -> 'StopRequest':
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore()

    def __call__(self) -> bool:
        """Whether to stop."""
        return self.asked

    def _ask(self, number: int, frame: Optional[FrameType]) -> None:
        self.asked = True
        self._restore()

    def _restore(self) -> None:
        while self._before:
            signal.signal(*self._before.popitem())


class Journal:
    """Which files were processed, and how long the results then were.

    One line of JSON a batch. Results that were written after the last whole
    line belong to files that will be processed again; whoever writes them
    cuts them off (``positions``). So every file is in the results once,
    whenever the process ended.

    Args:
        file (Path): Is made if it does not exist.
        about (dict): Whose results these are, kept in the first line.

    Attributes:
        positions (dict): Of the writers, at the last line.
        unreadable (set[str]): Files whose last version could not be read.

    Raises:
        InputError: If the file belongs to something else, or another process
            writes it.
    """

    def __init__(self, file: Path, about: Dict[str, Any]) -> None:
        self.seen: Dict[str, Stamp] = {}
        self.positions: Dict[str, Any] = {}
        self.unreadable: Set[str] = set()
        file.parent.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(f'{file}.lock', timeout=0)
        try:
            self._lock.acquire()
        except Timeout:
            raise InputError(
                f'{file} is in use: another watch writes there; end it or '
                'give another --out-dir'
            ) from None
        try:
            self._open(file, about)
        except BaseException:
            self._lock.release()
            raise

    def _open(self, file: Path, about: Dict[str, Any]) -> None:
        """Read what there is and go on behind it."""
        good = 0
        if file.is_file():
            with open(file, 'rb') as lines:
                for line in lines:
                    if not line.endswith(b'\n'):
                        break
                    try:
                        entry = json.loads(line)
                    except ValueError:
                        raise InputError(
                            f'{file} is damaged; give another --out-dir'
                        ) from None
                    self._read(entry, about, file, not good)
                    good += len(line)
        else:
            file.touch()
        self._file = open(file, 'r+b')
        self._file.seek(good)
        self._file.truncate()
        if not good:
            self._append(about)

    def _read(
        self,
        entry: Dict[str, Any],
        about: Dict[str, Any],
        file: Path,
        head: bool,
    ) -> None:
        if head:
            for key, value in about.items():
                if entry.get(key) != value:
                    raise InputError(
                        f'{file}: these results are of {key}='
                        f'{entry.get(key)}, not {value}; give another '
                        '--out-dir'
                    )
            return
        for name, stamp, error in entry['files']:
            self._note(name, tuple(stamp), error)
        self.positions = entry['positions']

    def _note(self, name: str, stamp: Stamp, error: str) -> None:
        self.seen[name] = stamp
        if error:
            self.unreadable.add(name)
        else:
            self.unreadable.discard(name)

    def _append(self, entry: Dict[str, Any]) -> None:
        self._file.write(json.dumps(entry).encode() + b'\n')
        self._file.flush()

    def __contains__(self, item: Tuple[str, Stamp]) -> bool:
        """Whether this very version of a file was processed."""
        name, stamp = item
        return self.seen.get(name) == stamp

    def add(self, frames: Sequence[Frame], positions: Dict[str, Any]) -> None:
        """Note a batch whose results are on the disk."""
        for frame in frames:
            self._note(frame.name, frame.stamp, frame.error)
        files = [[x.name, x.stamp, x.error] for x in frames]
        self._append(dict(files=files, positions=positions))

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        self._lock.release()


def check_watch(root: Path, seconds: float) -> None:
    """Raise :class:`InputError` for a folder or a pause that cannot be."""
    if not root.is_dir():
        raise InputError(f'{root}: --watch needs an existing folder')
    if not 0 < seconds < float('inf'):
        raise InputError(f'--watch {seconds}: give seconds above 0')


class WatchedFolder:
    """Images of a folder, as they come.

    A file is read when two looks at it found the same size and time of
    change. A file that is written anew under its old name is a new image.

    Args:
        root (Path): The folder, with subfolders.
        seconds (float): Between two looks.
        skip (Path): Folder of the results, which are no input.
        journal (Journal): What was seen before.
        stop (callable): Tells when to end.

    Attributes:
        waiting (dict[str, tuple[int, int]]): Files that are still growing.
    """

    others = 0

    def __init__(
        self,
        root: Path,
        seconds: float,
        skip: Path,
        journal: Journal,
        stop: Callable[[], bool],
    ) -> None:
        check_watch(root, seconds)
        self.root = root.absolute()
        self.seconds = seconds
        self.skip = skip.resolve()
        self.journal = journal
        self.stop = stop
        self.waiting: Dict[str, Stamp] = {}

    def __iter__(self) -> Iterator[Optional[Frame]]:
        """Give frames, and None when there is nothing more to read now."""
        while not self.stop():
            before, self.waiting = self.waiting, {}
            for name, image in walk_names(self.root, self.skip):
                if self.stop():
                    return
                stamp = self._stamp(name) if image else None
                if stamp is None or (name, stamp) in self.journal:
                    continue
                if stamp[0] and before.get(name) == stamp:
                    frame = read_frame(self.root / name, name)
                    frame.stamp = stamp
                    yield frame
                else:
                    self.waiting[name] = stamp
            yield None
            end = time.monotonic() + self.seconds
            while not self.stop() and time.monotonic() < end:
                time.sleep(min(SLICE, self.seconds))

    def _stamp(self, name: str) -> Optional[Stamp]:
        """Size and time of change; None if the file is gone again."""
        try:
            found = (self.root / name).stat()
        except FileNotFoundError:
            return None
        return found.st_size, found.st_mtime_ns
