"""mamba-ssm's own reference functions, without its CUDA extension."""

import importlib
import importlib.util
import sys
import types
from types import ModuleType
from typing import Optional

# What mamba_ssm imports at its top and only calls for CUDA tensors.
EXTENSIONS = ('selective_scan_cuda', 'causal_conv1d_cuda')


def find_mamba_ssm() -> Optional[ModuleType]:
    """Import mamba-ssm with empty modules in place of missing extensions.

    They are taken out again, so that nobody else believes them to be built.

    Returns:
        module: ``mamba_ssm``; None if it is not installed.
    """
    if importlib.util.find_spec('mamba_ssm') is None:
        return None
    missing = [
        name
        for name in EXTENSIONS
        if name not in sys.modules and importlib.util.find_spec(name) is None
    ]
    try:
        for name in missing:
            sys.modules[name] = types.ModuleType(name)
        module = importlib.import_module('mamba_ssm')
        importlib.import_module('mamba_ssm.ops.selective_scan_interface')
        importlib.import_module('mamba_ssm.modules.mamba_simple')
    finally:
        for name in missing:
            sys.modules.pop(name, None)
    return module


def import_mamba_ssm() -> ModuleType:
    """Import mamba-ssm or end the process with one line.

    Returns:
        module: ``mamba_ssm``.
    """
    module = find_mamba_ssm()
    if module is None:
        sys.exit(
            "error: mamba-ssm, the scan's peer, is not installed: run 'make "
            "env', which installs it without its CUDA extension"
        )
    return module
