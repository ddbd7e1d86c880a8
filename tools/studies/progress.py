"""How far a tool is, told by the end of its log."""

import os
import re
import subprocess
from pathlib import Path

# Of a line: of mmengine's loops, of the official trainer; else a bar of tqdm.
PROGRESS = re.compile(
    r'(?:Epoch|Iter)\((?:train|val|test)\).*?eta: \S+|epoch \d+/\d+ .*'
)
BAR = re.compile(r'\d+/\d+ \[\d[\d:]*<')
TAIL = 2**16  # bytes of a log that are looked through


def newest_progress(text: str) -> str:
    r"""The last progress in a log.

    Args:
        text (str): Lines, ended by ``\n`` or, of bars, by ``\r``.

    Returns:
        str: A bar's line or what says how far a loop is; '' if there is none.
    """
    for line in reversed(re.split(r'[\r\n]', text)):
        found = PROGRESS.search(line)
        if found:
            return found[0]
        if BAR.search(line):
            return line
    return ''


def watch(
    process: subprocess.Popen, log: Path, name: str, seconds: float = 30
) -> int:
    """Wait for a tool and show, every so many seconds, how far its log is.

    Args:
        process (Popen): Of the tool.
        log (Path): What it writes.
        name (str): Of the run, for each line: studies may run side by side.
        seconds (float): Defaults to 30.

    Returns:
        int: The tool's exit status.
    """
    shown, begin = '', log.stat().st_size
    while True:
        try:
            return process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            with log.open('rb') as file:
                end = file.seek(0, os.SEEK_END)
                file.seek(max(begin, end - TAIL))
                new = file.read().decode(errors='replace')
        progress = newest_progress(new)
        if progress and progress != shown:
            shown = progress
            line = ' '.join(shown.split())
            print(f'[study] {name}: {line}', flush=True)
