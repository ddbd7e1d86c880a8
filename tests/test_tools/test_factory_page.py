"""Each tool takes the commands that docs/factory.md gives for it."""

import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest

REPO = Path(__file__).resolve().parents[2]
PAGE = REPO / 'docs' / 'factory.md'
TOOLS = ('export_onnx.py', 'predict.py', 'pseudo_label.py')


def commands():
    """Words of each command of the page that runs a tool, without python."""
    blocks = re.findall(r'^```bash\n(.*?)^```', PAGE.read_text(), re.M | re.S)
    lines = ''.join(blocks).replace('\\\n', ' ').splitlines()
    words = [shlex.split(x, comments=True) for x in lines]
    return [x[1:] for x in words if x and x[0] == 'python']


def test_commands__are_of_these_tools():
    assert {Path(x[0]).name for x in commands()} == {*TOOLS}


@pytest.mark.parametrize('tool', TOOLS)
def test_commands__are_taken(tool, monkeypatch):
    monkeypatch.syspath_prepend(str(REPO / 'tools'))
    parse_args = runpy.run_path(str(REPO / 'tools' / tool))['parse_args']
    for words in commands():
        if Path(words[0]).name == tool:
            monkeypatch.setattr(sys, 'argv', words)
            parse_args()
