"""The operators' tests for other processors, beside the other tests."""

import os
import platform
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from dsym.ops import build

FILES = ('test_models/test_selective_scan.py', 'test_ops/test_fused_norm.py')
CHILD = pytest.StashKey()


def start(folder):
    """Compile for processors of 2013 on and run the tests, when idle."""
    with (folder / 'output.txt').open('w') as output:
        return subprocess.Popen(
            ['nice', sys.executable, '-m', 'pytest', '-q', *FILES],
            cwd=Path(__file__).parents[1],
            env={
                **os.environ,
                'DSYM_MARCH': 'x86-64-v3',
                'TORCH_EXTENSIONS_DIR': str(folder),
            },
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def end(process):
    """End what an interrupted session leaves, the compiler too."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def pytest_collection_finish(session):
    """Start early: the compilation takes a minute, and others do not wait."""
    wanted = any(
        'without_avx512' in getattr(item, 'fixturenames', ())
        for item in session.items
    )
    if (
        wanted
        and not session.config.option.collectonly
        and platform.machine() == 'x86_64'  # the name is of an x86 processor
        and build.load_ops()
    ):
        folder = tempfile.TemporaryDirectory(prefix='dsym_ops_')
        session.config.add_cleanup(folder.cleanup)
        process = start(Path(folder.name))
        session.config.add_cleanup(lambda: end(process))
        session.config.stash[CHILD] = (process, Path(folder.name))


@pytest.fixture
def without_avx512(request):
    """Exit status and output of those tests, and the libraries they used."""
    if CHILD not in request.config.stash:
        pytest.skip('no x86 processor, C++ compiler or ninja')
    process, folder = request.config.stash[CHILD]
    status = process.wait()
    libraries = list(folder.glob('*/*.so'))
    return status, (folder / 'output.txt').read_text(), libraries
