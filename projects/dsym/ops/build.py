import contextlib
import functools
import hashlib
import os
import platform
import shlex
import shutil
import sys
from pathlib import Path
from typing import Iterator, List

import torch
from mmengine.logging import print_log

SOURCES = sorted((Path(__file__).parent / 'csrc').glob('*'))
# No float traps are wanted, so that branches become blends. Without OpenMP
# at::parallel_for is a plain loop; its library is the one torch has loaded.
OPENMP = '-fopenmp'
FLAGS = ['-O3', '-fno-math-errno', '-fno-trapping-math', OPENMP]


def _flags() -> List[str]:
    """Flags of the compiler.

    Its vectors become the processor's own only for that processor;
    ``DSYM_MARCH`` names another one, as GCC's ``-march``.
    """
    return [*FLAGS, f'-march={os.environ.get("DSYM_MARCH", "native")}']


def _processor() -> str:
    """What -march=native depends on."""
    cpuinfo = Path('/proc/cpuinfo')
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith(('flags', 'Features')):
                return line
    return platform.processor() or platform.machine()


def _build_name() -> str:
    """Name of the library: of its sources, the processor and torch."""
    digest = hashlib.sha256(_processor().encode())
    for part in (torch.__version__, *_flags()):
        digest.update(part.encode())
    for source in SOURCES:
        digest.update(source.read_bytes())
    return f'dsym_ops_{digest.hexdigest()[:12]}'


@contextlib.contextmanager
def _tools_on_path() -> Iterator[None]:
    """Find pip's ninja also where the environment is not activated.

    Raises:
        RuntimeError: If there is none, or no compiler.
    """
    before = os.environ.get('PATH', '')
    after = f'{Path(sys.executable).parent}{os.pathsep}{before}'
    compiler = shlex.split(os.environ.get('CXX', 'c++'))[0]
    for tool in ('ninja', compiler):
        if shutil.which(tool, path=after) is None:
            raise RuntimeError(f'{tool} is not on the PATH')
    os.environ['PATH'] = after
    try:
        yield
    finally:
        os.environ['PATH'] = before


def _build(name: str) -> None:
    """Compile what is not compiled yet and load it."""
    import fcntl  # on Windows this ends in PyTorch's own kernels

    from torch.utils import cpp_extension

    root = os.environ.get('TORCH_EXTENSIONS_DIR')
    folder = Path(root or cpp_extension.get_default_build_root()) / name
    folder.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f'{name}.lock').open('w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        # A compilation that was killed leaves torch's own lock, on which the
        # next one would wait for ever. Ours ends with its process.
        (folder / 'lock').unlink(missing_ok=True)
        library = folder / f'{name}.so'
        if library.exists():
            try:
                torch.ops.load_library(library)
                return
            except OSError:  # cut by a kill as well
                library.unlink()
        print_log(
            'compiling the C++ operators of dsym, once, about a minute',
            logger='current',
        )
        with _tools_on_path():
            cpp_extension.load(
                name,
                [str(path) for path in SOURCES if path.suffix == '.cpp'],
                extra_cflags=_flags(),
                extra_ldflags=[OPENMP],
                build_directory=str(folder),
                is_python_module=False,
            )


@functools.cache
def load_ops() -> bool:
    """Make ``torch.ops.dsym`` available.

    The first call on a machine compiles the sources into torch's folder of
    extensions (``TORCH_EXTENSIONS_DIR``).

    Returns:
        bool: Whether it is there. Without a C++ compiler or ninja, training
        goes on with PyTorch's own kernels, and a warning says so once.
    """
    try:
        _build(_build_name())
    except (OSError, RuntimeError, ImportError) as error:
        lines = str(error).strip().splitlines() or [repr(error)]
        reason = next((x for x in lines if 'error:' in x), lines[0])
        print_log(
            f'the C++ operators of dsym are not built ({reason}): PyTorch '
            'does their work, slower; install a C++ compiler and ninja',
            logger='current',
            level=30,
        )
        return False
    return True
