"""Chromium without a window, driven as a user would: by its keyboard."""

import base64
import fcntl
import json
import os
import shutil
import subprocess
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator, List

CHROMIUM = shutil.which('chromium') or shutil.which('google-chrome')
KEYS = {'Tab': 9, 'Enter': 13}
OPTIONS = (
    '--headless', '--no-sandbox', '--disable-gpu', '--no-first-run',
    '--disable-background-networking', '--disable-sync',
    '--disable-dev-shm-usage', '--remote-debugging-pipe',
)  # fmt: skip


class Browser:
    """One page. Messages go through two pipes, each ended by a zero byte.

    Args:
        commands (BinaryIO): To Chromium, which reads them from descriptor 3.
        answers (BinaryIO): From Chromium, which writes to descriptor 4.
    """

    def __init__(self, commands, answers) -> None:
        self.commands, self.answers = commands, answers
        self.number, self.session = 0, None
        target = self.call('Target.createTarget', url='about:blank')
        self.session = self.call(
            'Target.attachToTarget', targetId=target['targetId'], flatten=True
        )['sessionId']

    def _read(self) -> dict:
        message = bytearray()
        while (byte := self.answers.read(1)) != b'\0':
            assert byte, 'Chromium has ended'
            message += byte
        return json.loads(message)

    def call(self, method: str, **params) -> dict:
        """Call a method of the DevTools protocol; its result."""
        self.number += 1
        message = dict(id=self.number, method=method, params=params)
        if self.session:
            message['sessionId'] = self.session
        self.commands.write(json.dumps(message).encode() + b'\0')
        self.commands.flush()
        while (answer := self._read()).get('id') != self.number:
            pass
        assert 'error' not in answer, answer
        return answer['result']

    def open(self, page: Path, width: int, height: int) -> None:
        """Open a file in a window of so many CSS pixels."""
        self.call(
            'Emulation.setDeviceMetricsOverride', width=width, height=height,
            deviceScaleFactor=1, mobile=False,
        )  # fmt: skip
        self.call('Page.navigate', url=page.as_uri())
        self.ask(
            "new Promise(done => document.readyState === 'complete' ? done() "
            ": addEventListener('load', () => done()))"
        )

    def ask(self, expression: str) -> Any:
        """The value of an expression of JavaScript, or of its promise."""
        result = self.call(
            'Runtime.evaluate', expression=expression, returnByValue=True,
            awaitPromise=True,
        )  # fmt: skip
        assert 'exceptionDetails' not in result, result
        return result['result'].get('value')

    def screenshot(self) -> bytes:
        """The whole page from top to bottom, as PNG."""
        size = self.call('Page.getLayoutMetrics')['cssContentSize']
        shot = self.call(
            'Page.captureScreenshot', captureBeyondViewport=True,
            clip=dict(size, width=self.ask('innerWidth'), scale=1),
        )  # fmt: skip
        return base64.b64decode(shot['data'])

    def press(self, key: str) -> None:
        """Press and release Tab or Enter, as the operating system would."""
        event = dict(key=key, code=key, windowsVirtualKeyCode=KEYS[key])
        text = dict(text='\r') if key == 'Enter' else {}
        self.call('Input.dispatchKeyEvent', type='keyDown', **event, **text)
        self.call('Input.dispatchKeyEvent', type='keyUp', **event)


def high_pipe() -> List[int]:
    """A pipe whose descriptors are far from 3 and 4, which are Chromium's."""
    ends = os.pipe()
    high = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 40) for end in ends]
    for end in ends:
        os.close(end)
    return high


@contextmanager
def browser(profile: Path) -> Iterator[Browser]:
    """Start Chromium with a new profile, and end it.

    Args:
        profile (Path): A folder that does not exist yet.

    Yields:
        Browser: An empty page.
    """
    theirs_in, ours_out = high_pipe()
    ours_in, theirs_out = high_pipe()
    process = subprocess.Popen(
        [
            'bash', '-c', f'exec "$@" 3<&{theirs_in} 4>&{theirs_out}', 'bash',
            CHROMIUM, *OPTIONS, f'--user-data-dir={profile}', 'about:blank',
        ],
        pass_fds=(theirs_in, theirs_out),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    os.close(theirs_in)
    os.close(theirs_out)
    with os.fdopen(ours_out, 'wb') as out, os.fdopen(ours_in, 'rb') as answers:
        try:
            yield Browser(out, answers)
        finally:
            process.terminate()
            process.wait(timeout=30)
