"""What a killed training leaves behind, made fit to go on from."""

import fcntl
import re
import time
import zipfile
from pathlib import Path
from typing import Optional

# Seconds: a loader's worker looks every 5 whether its parent is alive.
LETTING_GO = 15


def locked(file: int) -> bool:
    """Take a lock, which a killed training holds until it is gone.

    Args:
        file (int): Descriptor of the file to lock.

    Returns:
        bool: False if somebody has it for ``LETTING_GO`` seconds more.
    """
    deadline = time.monotonic() + LETTING_GO
    while True:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.2)


def last_checkpoint(work_dir: Path) -> Optional[Path]:
    """Find the checkpoint to go on from.

    MMEngine writes a checkpoint, then its name into ``last_checkpoint``. A
    kill in either leaves an incomplete file; torch's zip archives end with
    their directory, so one that was cut is none.

    Args:
        work_dir (Path): Folder of one training.

    Returns:
        Path: The newest complete one; None without any.
    """
    found = {}
    for path in work_dir.glob('*.pth'):
        number = re.fullmatch(r'(?:epoch|iter)_(\d+)', path.stem)
        if number and zipfile.is_zipfile(path):
            found[int(number.group(1))] = path
    return found[max(found)] if found else None


def mend_last_checkpoint(work_dir: Path) -> None:
    """Make ``last_checkpoint``, which MMEngine resumes from, name that file.

    Args:
        work_dir (Path): Folder of one training.
    """
    name = work_dir / 'last_checkpoint'
    newest = last_checkpoint(work_dir)
    if newest is None:
        name.unlink(missing_ok=True)
        return
    unfinished = name.with_suffix('.tmp')
    unfinished.write_text(str(newest))
    unfinished.rename(name)
