"""Where a figure comes from: machine, commit and config."""

import hashlib
import json
import platform
import re
import subprocess
from pathlib import Path
from typing import Dict

from mmengine.config import Config

# One name for each feature a training step gains from.
CPU_FEATURES = ('avx2', 'avx512f', 'avx512_bf16', 'amx_bf16')


def describe_machine() -> Dict[str, object]:
    """Describe the processor: a figure in minutes means nothing without."""
    info = Path('/proc/cpuinfo')
    text = info.read_text() if info.is_file() else ''
    model = re.search(r'model name\s*:\s*(.+)', text)
    flags = re.search(r'flags\s*:\s*(.+)', text)
    flags = set(flags.group(1).split()) if flags else set()
    return dict(
        cpu=model.group(1) if model else platform.processor(),
        cores=len(re.findall(r'^processor\s*:', text, re.M)),
        features=[name for name in CPU_FEATURES if name in flags],
        python=platform.python_version(),
    )


def git_commit() -> str:
    """Name the checkout's commit, with a + if it was changed.

    Returns:
        str: Empty where the package is no file of a git checkout, or git is
        not installed.
    """
    here = Path(__file__)
    run = dict(cwd=here.parent, capture_output=True, text=True)
    describe = ['git', 'describe', '--always', '--dirty=+', '--abbrev=12']
    try:
        # an environment may lie in the checkout of something else
        tracked = ['git', 'ls-files', '--error-unmatch', here.name]
        if subprocess.run(tracked, **run).returncode:
            return ''
        return subprocess.run(describe, **run).stdout.strip()
    except OSError:
        return ''


def config_hash(config: Config) -> str:
    """Hash what a config says, whatever the order of its keys.

    Args:
        config (Config): A loaded config with its overrides.

    Returns:
        str: 12 hexadecimal digits.
    """
    content = json.dumps(config.to_dict(), sort_keys=True, default=str)
    return hashlib.sha256(content.encode()).hexdigest()[:12]
