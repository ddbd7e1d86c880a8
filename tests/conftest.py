"""Shared by all tests: dsym goes first, so that mmyolo can be imported."""

import gc
import os
from pathlib import Path

import cv2
import pytest

# Before torch counts the cores: processes of pytest-xdist share them.
if 'PYTEST_XDIST_WORKER_COUNT' in os.environ:
    _threads = (os.cpu_count() or 1) // int(
        os.environ['PYTEST_XDIST_WORKER_COUNT']
    )
    os.environ.setdefault('OMP_NUM_THREADS', str(max(_threads, 1)))

# Before dsym: mmdet and diffusers look for some peers when they are imported.
import peers  # noqa: F401
from mmengine.logging import MMLogger
from tiny_run import STUBS

import dsym  # noqa: F401

# The official YOLOv9 code replaces them when it is imported.
OPENCV = {x: getattr(cv2, x) for x in ('imread', 'imwrite', 'imshow')}


def pytest_collection_modifyitems(items):
    """Files that start whole tools first, the longest ones.

    At the end one process would work on them and the other wait.
    """
    items.sort(key=lambda item: item.path.parent.name != 'test_tools')


def pytest_collection_finish():
    """Hide what was imported from the collection that a data set begins with.

    mmengine's takes 0.4 s, looking through all modules' objects each time.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(scope='session')
def neu_det_root():
    """The NEU-DET folder, or a skip where it is absent."""
    root = os.environ.get('NEU_DET_ROOT', '')
    if not root or not Path(root).is_dir():
        pytest.skip('NEU-DET is absent: set NEU_DET_ROOT to its folder')
    return Path(root)


@pytest.fixture
def logged(monkeypatch):
    """The lines of all of mmengine's loggers from now on."""
    lines = []
    handle = MMLogger.handle

    def see(logger, record):
        lines.append(record.getMessage())
        handle(logger, record)

    monkeypatch.setattr(MMLogger, 'handle', see)
    return lines


@pytest.fixture(autouse=True)
def _process_as_before():
    """Undo what a test's peers and tools change for all that come after."""
    logger = MMLogger.get_current_instance()
    level = logger.level
    yield
    for one in (logger, MMLogger.get_current_instance()):
        one.setLevel(level)
    # The official code's logging.config closes the files of all loggers, and
    # init_weights of mmengine writes into them.
    for one in MMLogger._instance_dict.values():
        for handler in [*one.handlers]:
            if getattr(handler, 'stream', one) is None:
                one.removeHandler(handler)
    for name, function in OPENCV.items():
        setattr(cv2, name, function)


@pytest.fixture(scope='session', autouse=True)
def _stubs_for_children():
    """What ``pythonpath`` of pyproject.toml is for this process."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv('PYTHONPATH', STUBS, prepend=os.pathsep)
        yield
