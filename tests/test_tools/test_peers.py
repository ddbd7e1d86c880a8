"""Peers are found by who asks for them, and by no user's process."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

TOOLS = Path(__file__).parents[2] / 'tools'


@pytest.mark.parametrize(
    ('code', 'ends_well'),
    [('import peers, a_peer', True), ('import a_peer', False)],
)
def test_folder_of_peers(tmp_path, code, ends_well):
    folder = tmp_path / 'dsym_peers'
    folder.mkdir()
    (folder / 'a_peer.py').touch()
    places = os.pathsep.join([str(tmp_path), str(TOOLS)])
    done = subprocess.run(
        [sys.executable, '-c', code],
        env={**os.environ, 'PYTHONPATH': places},
        stderr=subprocess.DEVNULL,
    )
    assert (done.returncode == 0) == ends_well
