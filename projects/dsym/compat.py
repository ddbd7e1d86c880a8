"""The only module that knows other packages' version quirks.

``import dsym`` runs it before anything imports mmyolo. It does five things:

1. mmyolo 0.6.0 asserts ``mmcv < 2.1.0`` when it is imported, although it runs
   on 2.1 unchanged. The assertion is satisfied while mmyolo is imported and
   mmcv's version is put back at once.
2. torch >= 2.6 loads with ``weights_only=True``, which refuses the log
   history that mmengine 0.10 keeps in its checkpoints. The few classes of
   that history are declared safe; ``weights_only`` stays on, also for
   checkpoints that come from a URL, where torch.hub turns it off.
3. A checkpoint that holds anything else is refused with one line that names
   the file, the object and the remedy.
4. mmyolo's optimizer constructors collect what is called ``weight`` or
   ``bias``. What a state space calls otherwise gets a group of its own.
5. torch < 2.3 tells in another place whether it compiles, and torch < 2.5
   has one exporter to ONNX, the one that is meant, and no word to choose it.

Only attributes are looked at, never the names of installed distributions, so
the onedl-* forks, which share the import names, work the same way.
"""

import importlib
import inspect
import os
import pickle
import re
import sys
from typing import Any, Optional
from urllib.parse import urlparse

try:
    import mmcv
    import mmdet  # noqa: F401  its own check must see mmcv's real version
    import numpy as np
    import torch
    from mmengine.dist import barrier, is_main_process
    from mmengine.logging import HistoryBuffer
    from mmengine.runner.checkpoint import CheckpointLoader, load_from_local
    from mmengine.utils import digit_version, mkdir_or_exist
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        f'dsym needs the package {error.name}, which is not installed: '
        'install the toolbox as requirements/mminstall.txt says, or run '
        "'make env' in a checkout of dsym.",
        name=error.name,
    ) from None

from .errors import MissingFileError, UnsafeCheckpointError

# The newest mmcv that mmyolo's own range (2.0.0rc4 <= v < 2.1.0) contains.
MMCV_FOR_MMYOLO = '2.0.1'
MMYOLO_CONSTRUCTORS = (
    'YOLOv5OptimizerConstructor',
    'YOLOv7OptimWrapperConstructor',
)
# Parameters of a scan that are trained apart from others of their name.
SCAN_MARKS = ('_no_weight_decay', '_no_reinit', '_no_warmup')
# The reducers that pickle calls for numpy arrays and scalars, by the module
# path numpy 1 and numpy 2 write into a file.
NUMPY_REDUCERS = ('_reconstruct', 'scalar')
NUMPY_MODULES = ('numpy.core.multiarray', 'numpy._core.multiarray')
# Since torch 2.6 weights_only is the default and knows named safe globals.
WEIGHTS_ONLY = hasattr(torch.serialization, 'get_unsafe_globals_in_checkpoint')
# Whether torch.compile traces the code that asks, which it knows by this name.
is_compiling = (
    torch.compiler if hasattr(torch.compiler, 'is_compiling') else torch._utils
).is_compiling
# What torch.onnx.export is to be told for its exporter of traces.
EXPORTER_OF_TRACES = (
    dict(dynamo=False)
    if 'dynamo' in inspect.signature(torch.onnx.export).parameters
    else {}
)
# How torch's restricted unpickler names what it refuses.
REFUSALS = re.compile(
    r'GLOBAL (?P<name>\S+)|reduce for unrecognized function (?P<func>.+)|'
    r"(?:but got|whose module) (?P<type><class '[^']+'>|\S+)"
)


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
        owner = getattr(obj, '__name__', type(obj).__name__)
        raise pickle.UnpicklingError(
            f'Unsupported global: GLOBAL getattr({owner},{name})'
        )
    return getattr(obj, name)


def register_safe_globals() -> None:
    """Declare the classes of mmengine's checkpoints safe to unpickle.

    They are ``HistoryBuffer`` (``MessageHub`` saves its scalars so), numpy's
    arrays, scalars and numeric dtypes, and :func:`guarded_getattr`.
    """
    multiarray = importlib.import_module(NUMPY_MODULES[hasattr(np, '_core')])
    torch.serialization.add_safe_globals(
        [
            HistoryBuffer,
            (guarded_getattr, 'builtins.getattr'),
            np.ndarray,
            np.dtype,
            *{
                type(np.dtype(code))
                for code in np.typecodes['AllInteger'] + '?efd'
            },
            *[
                (getattr(multiarray, name), f'{module}.{name}')
                for module in NUMPY_MODULES
                for name in NUMPY_REDUCERS
            ],
        ]
    )


def load_from_local_checked(
    filename: str, map_location: Optional[str] = None
) -> dict:
    """Load a local checkpoint; refuse unsafe objects with one clear line.

    Args:
        filename (str): Path of the checkpoint.
        map_location (str, optional): As in :func:`torch.load`. Defaults to
            None.

    Returns:
        dict: The checkpoint.

    Raises:
        MissingFileError: If there is no such file.
        UnsafeCheckpointError: If the file is no checkpoint, is damaged, or
            holds an object that is neither a tensor, a plain container nor
            part of mmengine's log history.
    """
    if not WEIGHTS_ONLY:
        return load_from_local(filename, map_location)
    path = os.path.expanduser(filename)
    if not os.path.isfile(path):
        raise MissingFileError(
            f'{filename} can not be found: give the path of an existing '
            'checkpoint (.pth).'
        )
    try:
        return torch.load(path, map_location=map_location, weights_only=True)
    # a text that is read as a pickle may also raise the last two
    except (
        pickle.UnpicklingError, EOFError, RuntimeError, LookupError,
        ValueError,
    ) as error:  # fmt: skip
        refusal = REFUSALS.search(str(error))
        if isinstance(error, pickle.UnpicklingError) and refusal:
            raise UnsafeCheckpointError(
                f'{filename} holds {refusal[refusal.lastgroup].rstrip(".")}, '
                'which could run code when loaded, and was refused: save '
                'only its state_dict, or, if you trust its author, declare '
                'the class with torch.serialization.add_safe_globals before '
                'loading.'
            ) from None
        if isinstance(error, RuntimeError) and 'zip archive' not in str(error):
            raise  # no fault of the file, e.g. a device that is not there
        raise UnsafeCheckpointError(
            f'{filename} is damaged or not a PyTorch checkpoint: download or '
            'save it again.'
        ) from None


def load_from_http_checked(
    filename: str,
    map_location: Optional[str] = None,
    model_dir: Optional[str] = None,
    progress: bool = True,
) -> dict:
    """Download a checkpoint once and load it with the same checks.

    Args:
        filename (str): URL of the checkpoint.
        map_location (str, optional): As in :func:`torch.load`. Defaults to
            None.
        model_dir (str, optional): Folder that keeps downloads. Defaults to
            torch.hub's ``checkpoints`` folder.
        progress (bool): Whether to show a progress bar. Defaults to True.

    Returns:
        dict: The checkpoint.

    Raises:
        pickle.UnpicklingError: As in :func:`load_from_local_checked`.
    """
    folder = model_dir or os.path.join(torch.hub.get_dir(), 'checkpoints')
    path = os.path.join(folder, os.path.basename(urlparse(filename).path))

    def download() -> None:
        if not os.path.exists(path):
            mkdir_or_exist(folder)
            torch.hub.download_url_to_file(filename, path, progress=progress)

    if is_main_process():
        download()
    barrier()
    download()  # a node that does not share the main process's disk
    return load_from_local_checked(path, map_location)


def add_state_spaces() -> None:
    """Let mmyolo's optimizer constructors take a state space's parameters.

    Mamba's rates ``A_log`` and skips ``D``, which carry mamba-ssm's mark
    ``_no_weight_decay``, would keep their initial values without a word, and
    the warm-up of mmyolo's group of biases would throw those of a scan out of
    their range. All these get a group without weight decay, after mmyolo's
    own, whose places its scheduler hook knows. Models without such parameters
    are built as ever.
    """
    from mmengine.model import is_model_wrapper
    from mmyolo.registry import OPTIM_WRAPPER_CONSTRUCTORS

    def extend(base: type) -> type:
        def build(self, model):
            wrapper = base.__call__(self, model)
            if is_model_wrapper(model):
                model = model.module
            marked = [
                parameter
                for parameter in model.parameters()
                if any(hasattr(parameter, mark) for mark in SCAN_MARKS)
            ]
            if marked:
                own = {id(p) for p in marked}
                for group in wrapper.optimizer.param_groups:
                    group['params'] = [
                        p for p in group['params'] if id(p) not in own
                    ]
                wrapper.optimizer.add_param_group(
                    dict(params=marked, weight_decay=0.0)
                )
            return wrapper

        members = dict(__call__=build, __doc__=base.__doc__)
        return type(base.__name__, (base,), members)

    for name in MMYOLO_CONSTRUCTORS:
        base = OPTIM_WRAPPER_CONSTRUCTORS.get(name)
        OPTIM_WRAPPER_CONSTRUCTORS.register_module(
            name=name, force=True, module=extend(base)
        )


import_mmyolo()
add_state_spaces()
if WEIGHTS_ONLY:
    register_safe_globals()
    # The empty prefix is mmengine's entry for plain local paths.
    CheckpointLoader.register_scheme('', load_from_local_checked, force=True)
    CheckpointLoader.register_scheme(
        ('http://', 'https://'), load_from_http_checked, force=True
    )
