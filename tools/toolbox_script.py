"""Run a script of MMDetection's own tools with dsym loaded.

``tools/train.py`` and ``tools/test.py`` are MMDetection's packaged scripts,
with the same options. This module adds what a user meets first: one line
instead of a traceback for a mistake in the input.
"""

import argparse
import runpy
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import Iterator, NoReturn

CONFIGS = '.py', '.json', '.yaml', '.yml'  # what mmengine reads


def stop(message: str) -> NoReturn:
    """End the process with one line and the exit status of a usage error.

    Args:
        message (str): What is wrong and the remedy.
    """
    print(f'{Path(sys.argv[0]).name}: error: {message}', file=sys.stderr)
    raise SystemExit(2)


def is_input_error(error: BaseException) -> bool:
    """Tell a reported mistake in the input from a defect of the program.

    Args:
        error (BaseException): A caught exception.

    Returns:
        bool: Whether dsym reported it as one, or whether MMEngine, which
        reads the configs, did not find a file.
    """
    from dsym.errors import InputError

    traceback = error.__traceback__
    while traceback.tb_next:
        traceback = traceback.tb_next
    module = traceback.tb_frame.f_globals.get('__name__', '')
    return isinstance(error, InputError) or (
        isinstance(error, FileNotFoundError)
        and module.split('.')[0] == 'mmengine'
    )


def describe(error: BaseException) -> str:
    """Put an input error into one line."""
    if getattr(error, 'filename', None):
        return (
            f'{error.filename}: {error.strerror}; give the path of an '
            f'existing file (looked from {Path.cwd()}).'
        )
    # str() of a KeyError would put the sentence in quotes.
    return str(error.args[0] if error.args else error)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """End the process with one line for a mistake in the input."""
    try:
        yield
    except Exception as error:
        if not is_input_error(error):
            raise
        stop(' '.join(describe(error).split()))


def init_cpu_processes() -> None:
    """Set up what ``--launcher pytorch`` needs on a machine without a GPU.

    MMEngine's own set-up selects a CUDA device in every case, but it leaves
    alone a process group that exists; and it gives the model's wrapper
    ``device_ids``, which a model on the CPU cannot have. A wrapper that has
    settings no longer gets MMEngine's other ones, so they are repeated.
    """
    import torch
    from mmengine.config import Config, DictAction
    from mmengine.device import get_device

    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument('--launcher')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    args = parser.parse_known_args()[0]
    # without a config the script's own parser says so
    path = next((x for x in sys.argv[1:] if Path(x).suffix in CONFIGS), None)
    if path and args.launcher == 'pytorch' and get_device() == 'cpu':
        config = Config.fromfile(path)
        config.merge_from_dict(args.cfg_options or {})
        torch.distributed.init_process_group('gloo')
        wrapper = dict(
            device_ids=None,
            broadcast_buffers=False,
            find_unused_parameters=config.get('find_unused_parameters', False),
        )
        wrapper.update(config.get('model_wrapper_cfg', {}), device_ids=None)
        sys.argv.append('--cfg-options')
        sys.argv += [f'model_wrapper_cfg.{k}={v}' for k, v in wrapper.items()]


def bf16_on_cpu() -> None:
    """Let ``--amp`` of ``train.py`` work on a machine without a GPU.

    MMEngine's ``AmpOptimWrapper``, which it stands for, refuses to run there.
    """
    from mmengine.device import get_device

    if '--amp' in sys.argv and get_device() == 'cpu':
        sys.argv.remove('--amp')
        sys.argv += [
            '--cfg-options',
            'optim_wrapper.type=BF16OptimWrapper',
            'optim_wrapper.enabled=True',
        ]


def run(name: str) -> None:
    """Run ``mmdet/.mim/tools/{name}`` in this process.

    Args:
        name (str): File name of the script.
    """
    try:
        import mmdet

        import dsym  # noqa: F401  registers its classes, makes mmyolo fit
    except ModuleNotFoundError as error:
        stop(
            f"{str(error).rstrip('.')}; run 'pip install -e .' in the "
            "checkout of dsym, or 'make env' for the whole stack."
        )
    script = Path(mmdet.__file__).parent / '.mim' / 'tools' / name
    if not script.is_file():
        stop(
            f'{script} is missing: install mmdet with pip or mim, which put '
            'its tools there.'
        )
    with one_line_errors():
        init_cpu_processes()
        if name == 'train.py':
            bf16_on_cpu()
        runpy.run_path(str(script), run_name='__main__')
