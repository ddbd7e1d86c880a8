"""Shared by all tests: dsym goes first, so that mmyolo can be imported."""

import os
from pathlib import Path

import pytest

import dsym  # noqa: F401


@pytest.fixture(scope='session')
def neu_det_root():
    """The NEU-DET folder, or a skip where it is absent."""
    root = os.environ.get('NEU_DET_ROOT', '')
    if not root or not Path(root).is_dir():
        pytest.skip('NEU-DET is absent: set NEU_DET_ROOT to its folder')
    return Path(root)


@pytest.fixture(scope='session', autouse=True)
def _unformatted_configs():
    """yapf takes seconds to lay a config out whenever a runner saves it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            'mmengine.config.config.FormatCode',
            lambda text, **style: (text, True),
        )
        yield
