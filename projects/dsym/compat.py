"""The only module that knows other packages' version quirks.

``import dsym`` runs it before anything imports mmyolo. It does three things:

1. mmyolo 0.6.0 asserts ``mmcv < 2.1.0`` when it is imported, although it runs
   on 2.1 unchanged. The assertion is satisfied while mmyolo is imported and
   mmcv's version is put back at once.
2. torch >= 2.6 loads with ``weights_only=True``, which refuses the log
   history that mmengine 0.10 keeps in its checkpoints. The few classes of
   that history are declared safe; ``weights_only`` stays on.
3. A checkpoint that holds anything else is refused with one line that names
   the file, the object and the remedy.
"""
import importlib
import pickle
import re
import sys
from typing import Any, Optional

import mmcv
import numpy as np
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner.checkpoint import CheckpointLoader, load_from_local
from mmengine.utils import digit_version

# The newest mmcv that mmyolo's own range (2.0.0rc4 <= v < 2.1.0) contains.
MMCV_FOR_MMYOLO = '2.0.1'
# The reducers that pickle calls for numpy arrays and scalars, by the module
# path numpy 1 and numpy 2 write into a file.
NUMPY_REDUCERS = ('_reconstruct', 'scalar')
NUMPY_MODULES = ('numpy.core.multiarray', 'numpy._core.multiarray')


def import_mmyolo() -> None:
    """Import mmyolo beside an mmcv that its version assertion refuses.

    mmyolo compares ``mmcv.__version__`` once, in its ``__init__``. Only for
    that import the attribute is lowered; it is restored even when the import
    fails.
    """
    if 'mmyolo' in sys.modules:
        return
    actual = mmcv.__version__
    if digit_version(actual) >= digit_version('2.1.0'):
        mmcv.__version__ = MMCV_FOR_MMYOLO
    try:
        importlib.import_module('mmyolo')
    finally:
        mmcv.__version__ = actual


def guarded_getattr(obj: Any, name: str) -> Any:
    """Stand in for ``getattr`` while a checkpoint is unpickled.

    ``HistoryBuffer`` keeps a table of its own methods, which pickle stores as
    ``getattr(HistoryBuffer, name)``. On any other object ``getattr`` is a way
    out of the sandbox and is refused.

    Raises:
        pickle.UnpicklingError: If the lookup is not a public method of
            ``HistoryBuffer``.
    """
    if obj is not HistoryBuffer or name.startswith('_'):
        raise pickle.UnpicklingError(
            f'Unsupported global: GLOBAL builtins.getattr of {obj!r}.{name}')
    return getattr(obj, name)


def register_safe_globals() -> None:
    """Declare the classes of mmengine's checkpoints safe to unpickle.

    They are ``HistoryBuffer`` (``MessageHub`` saves its scalars so), numpy's
    arrays, scalars and numeric dtypes, and :func:`guarded_getattr`.
    """
    if not hasattr(torch.serialization, 'get_unsafe_globals_in_checkpoint'):
        return  # before 2.6 torch.load neither needs nor takes this list
    multiarray = importlib.import_module(
        NUMPY_MODULES[hasattr(np, '_core')])
    torch.serialization.add_safe_globals([
        HistoryBuffer,
        (guarded_getattr, 'builtins.getattr'),
        np.ndarray,
        np.dtype,
        *{type(np.dtype(code))
          for code in np.typecodes['AllInteger'] + 'efd?'},
        *[(getattr(multiarray, name), f'{module}.{name}')
          for module in NUMPY_MODULES for name in NUMPY_REDUCERS],
    ])


def load_from_local_checked(filename: str,
                            map_location: Optional[str] = None) -> dict:
    """Load a local checkpoint; refuse unsafe objects with one clear line.

    Args:
        filename (str): Path of the checkpoint.
        map_location (str, optional): As in :func:`torch.load`.

    Returns:
        dict: The checkpoint.

    Raises:
        FileNotFoundError: If there is no such file.
        pickle.UnpicklingError: If the file holds an object that is neither a
            tensor, a plain container nor part of mmengine's log history.
    """
    try:
        return load_from_local(filename, map_location)
    except pickle.UnpicklingError as error:
        found = re.search(r'GLOBAL (\S+)', str(error))
        what = f'the object {found.group(1)}' if found else 'unreadable data'
        raise pickle.UnpicklingError(
            f'{filename} holds {what}, which could run code when loaded, and '
            'was refused. Save only its state_dict, or, if you trust its '
            'author, declare the class with torch.serialization.'
            'add_safe_globals before loading.') from None


import_mmyolo()
register_safe_globals()
# The empty prefix is mmengine's entry for plain local paths.
CheckpointLoader.register_scheme('', load_from_local_checked, force=True)
