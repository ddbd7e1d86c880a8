"""Build .venv with the pinned stack; go on where an interrupted run stopped.

Usage: python3.11 tools/dev/setup_env.py

The heavy packages live in one environment outside the checkout, named after
the hash of the requirements, so that a second clone is quick; ``.venv`` is a
thin environment that reads them and holds this checkout's editable ``dsym``.

Environment variables:
    DSYM_CACHE: Folder of the shared environments and of the compiled mmcv.
        Defaults to ``$XDG_CACHE_HOME/dsym`` or ``~/.cache/dsym``. Set to the
        empty string, everything goes into ``.venv`` itself.
    TORCH_INDEX_URL: A further package index to take torch from, e.g. one of
        CPU-only builds, which saves several GB. Defaults to none.
    MAX_JOBS: Compiler processes. Defaults to the number of CPU cores.
"""

import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
REQUIREMENTS = ROOT / 'requirements'
LOCK = REQUIREMENTS / 'lock.txt'
# torch 2.9.1 with its CUDA libraries, pip's downloads and mmcv's objects.
NEEDED_GB = 14
NEEDED_GB_OTHER_INDEX = 5
CORE_MINUTES = 22  # of compiling mmcv
PACKAGES = f'lib/python3.{sys.version_info.minor}/site-packages'
# Minutes of each step on 2 cores with a fast network, 0 for less than one, and
# what it installs. All but the last are methods of Installer.
STEPS = {
    'create': (0, 'an empty environment'),
    'build_tools': (0, 'setuptools, wheel, ninja'),
    'torch': (5, 'torch, 7 GB with CUDA libraries'),
    'mmcv': (0, 'mmcv, if its compiled wheel is cached'),
    'toolbox': (2, 'mmengine, mmdet, mmyolo and the test tools'),
    'check': (0, 'importing it all'),
    'dsym': (1, 'dsym itself, editable, and its operators'),
}
IMPORT_CHECK = (
    'import torch, torchvision, mmengine, mmcv.ops, mmdet, cv2, pycocotools'
)


def say(text: str) -> None:
    """Print one progress line at once."""
    print(f'[env] {text}', flush=True)


def announce(name: str) -> str:
    """Say which step begins and how long it takes.

    Args:
        name (str): Of :data:`STEPS`.

    Returns:
        str: The step and its number, for the line that ends it.
    """
    minutes, what = STEPS[name]
    step = f'step {list(STEPS).index(name) + 1}/{len(STEPS)}'
    duration = f'about {minutes}' if minutes else 'under 1'
    say(f'{step}, {duration} min: {what}')
    return step


def stop(text: str) -> None:
    """End with one line that names the remedy."""
    sys.exit(f'[env] error: {text}')


def cache_dir() -> Path:
    """Return the folder that outlives a checkout."""
    given = os.environ.get('DSYM_CACHE')
    if given == '':
        return ROOT / '.venv' / 'cache'
    base = os.environ.get('XDG_CACHE_HOME') or '~/.cache'
    return Path(given or f'{base}/dsym').expanduser().resolve()


def environment_key() -> str:
    """Hash what decides the content of the environment."""
    parts = [platform.python_version(), sys.prefix, platform.machine()]
    parts.append(os.environ.get('TORCH_INDEX_URL', ''))
    parts += [path.read_text() for path in sorted(REQUIREMENTS.glob('*.txt'))]
    return hashlib.sha256('\n'.join(parts).encode()).hexdigest()[:12]


def pinned(name: str) -> str:
    """Return ``name==version`` from the lock file."""
    return re.search(rf'^{name}==\S+', LOCK.read_text(), re.M)[0]


class Installer:
    """The steps of an installation, each of them stamped when it is done.

    Args:
        env (Path): The environment to build.
        cache (Path): Folder of the compiled mmcv.
        lock_fd (int): File descriptor of the lock. Child processes inherit
            it, so that a survivor of a killed run keeps the lock.
    """

    def __init__(self, env: Path, cache: Path, lock_fd: int) -> None:
        self.env = env
        self.cache = cache
        self.lock_fd = lock_fd
        self.python = str(env / 'bin' / 'python')

    def run(self, *command: str, **kwargs) -> None:
        """Run a command; its failure ends the installation with one line."""
        code = subprocess.run(
            command,
            pass_fds=[self.lock_fd],
            stdin=subprocess.DEVNULL,
            **kwargs,
        ).returncode
        if code:
            stop(
                f'"{" ".join(command[:8])} ..." failed with status {code}; '
                'see above, then run the same make target again: it goes on '
                'from here.'
            )

    def pip(self, *arguments: str, **kwargs) -> None:
        """Call pip of the environment."""
        self.run(
            self.python, '-m', 'pip', '--disable-pip-version-check',
            *arguments, **kwargs,
        )  # fmt: skip

    def install(self, *arguments: str, **kwargs) -> None:
        """Install pinned packages, with the progress that pip shows."""
        self.pip('install', '-c', str(LOCK), *arguments, **kwargs)

    def create(self) -> None:
        """Create the empty environment; an unfinished one is thrown away."""
        self.run(sys.executable, '-m', 'venv', '--clear', str(self.env))

    def torch(self) -> None:
        """Install torch, from TORCH_INDEX_URL if that is set."""
        index = os.environ.get('TORCH_INDEX_URL')
        extra = ['--extra-index-url', index] if index else []
        self.install('-r', str(REQUIREMENTS / 'torch.txt'), *extra)

    def mmcv(self) -> None:
        """Install mmcv from its cached wheel, which may first be compiled."""
        facts = subprocess.run(
            [
                self.python, '-c',
                'import sys, torch; print(torch.__version__, '
                'sys.implementation.cache_tag, '
                '"cuda" * torch.cuda.is_available())',
            ],
            capture_output=True, text=True, check=True,
        ).stdout.split()  # fmt: skip
        key = '-'.join([pinned('mmcv').replace('==', '-'), *facts])
        store = self.cache / 'wheels' / f'{key}-{platform.machine()}'
        store.mkdir(parents=True, exist_ok=True)
        if not list(store.glob('*.whl')):
            self.compile_mmcv(store)
        wheel = next(store.glob('*.whl'))
        self.install('--no-deps', '--force-reinstall', str(wheel))

    def compile_mmcv(self, store: Path) -> None:
        """Compile mmcv's wheel in a folder that an interruption leaves.

        The compiled objects stay there, so the next run compiles the rest.
        """
        if not (shutil.which('c++') or shutil.which('g++')):
            stop(
                'mmcv must be compiled and no C++ compiler is here: install '
                'one (Debian: apt install g++).'
            )
        if not Path(sysconfig.get_path('include'), 'Python.h').is_file():
            stop(
                'mmcv must be compiled and the headers of Python are not '
                'here: install them (Debian: apt install python3.11-dev).'
            )
        no_compiler = (
            'import sys, torch; from torch.utils.cpp_extension import '
            'CUDA_HOME; sys.exit(torch.cuda.is_available() and not CUDA_HOME)'
        )
        if subprocess.run([self.python, '-c', no_compiler]).returncode:
            stop(
                'mmcv must be compiled for the GPU here and no CUDA toolkit '
                "is found: install torch's version of it (nvcc) and set "
                'CUDA_HOME, or hide the GPU with CUDA_VISIBLE_DEVICES=-1 in '
                'this and every later call.'
            )
        source = store / 'src'
        if not (source / 'setup.py').exists():
            self.pip(
                'download', '-q', '--no-deps', '--no-binary=mmcv',
                '--no-build-isolation', '-d', str(store), pinned('mmcv'),
            )  # fmt: skip
            unpacked = store / 'unpacking'
            shutil.rmtree(unpacked, ignore_errors=True)
            shutil.unpack_archive(next(store.glob('*.tar.gz')), unpacked)
            next(unpacked.iterdir()).rename(source)
        jobs = os.environ.get('MAX_JOBS') or str(os.cpu_count())
        log = store / 'compile.log'
        say(
            f'compiling mmcv, about {CORE_MINUTES / int(jobs):.0f} min with '
            f'{jobs} processes; log: {log}'
        )
        finished = store / 'finished'
        with log.open('w') as output:
            process = subprocess.Popen(
                [
                    self.python, '-m', 'pip', 'wheel', '-v', '--no-deps',
                    '--no-build-isolation', '-w', str(finished), str(source),
                ],
                stdout=output, stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL, pass_fds=[self.lock_fd],
                env={
                    **os.environ, 'MMCV_WITH_OPS': '1', 'MAX_JOBS': jobs,
                    # ninja must be found although .venv is not activated
                    'PATH': f'{self.env / "bin"}:{os.environ["PATH"]}',
                },
            )  # fmt: skip
        self.watch(process, log)
        if process.returncode:
            print(log.read_text(errors='replace')[-3000:], file=sys.stderr)
            stop(f'compiling mmcv failed; the whole log is {log}')
        wheel = next(finished.glob('mmcv-*.whl'))
        wheel.rename(store / wheel.name)
        shutil.rmtree(source)

    def watch(self, process: subprocess.Popen, log: Path) -> None:
        """Report compiled files and the remaining minutes twice a minute."""
        start = time.monotonic()
        first = None
        while True:
            try:
                process.wait(timeout=30)
                return
            except subprocess.TimeoutExpired:
                text = log.read_text(errors='replace')
            counts = re.findall(r'^\s*\[(\d+)/(\d+)\]', text, re.M)
            if not counts:
                continue
            done, total = map(int, counts[-1])
            minutes = (time.monotonic() - start) / 60
            if first is None:
                first = (done, minutes)
            rate = (done - first[0]) / max(minutes - first[1], 1e-3)
            left = f', {(total - done) / rate:.0f} min left' if rate else ''
            say(f'mmcv: {done}/{total} files, {minutes:.1f} min{left}')

    def toolbox(self) -> None:
        """Install the rest of the toolbox, the package's and the tests'."""
        files = ('mminstall', 'runtime', 'tests')
        for name in files:
            self.install('-r', str(REQUIREMENTS / f'{name}.txt'))
        # mamba-ssm's set-up would download or compile its CUDA extension; its
        # reference functions are all that is asked of it.
        plain = {'MAMBA_FORCE_BUILD': 'TRUE', 'MAMBA_SKIP_CUDA_BUILD': 'TRUE'}
        self.install(
            '--no-deps', '--no-build-isolation', '--upgrade',
            '--target', str(self.env / PACKAGES / 'dsym_peers'),
            '-r', str(REQUIREMENTS / 'peers.txt'),
            env={**os.environ, **plain},
        )  # fmt: skip
        # opencv-python links libGL and X11, which servers lack; its headless
        # build has the same functions but windows, and the same files.
        command = [self.python, '-c', 'import cv2']
        if subprocess.run(command, stderr=subprocess.DEVNULL).returncode:
            say('no display libraries here: taking the headless OpenCV')
            headless = pinned('opencv-python').replace(
                'python', 'python-headless'
            )
            self.install('--no-deps', '--force-reinstall', headless)

    def check(self) -> None:
        """Import what everything else stands on."""
        self.run(self.python, '-c', IMPORT_CHECK)

    def build_tools(self) -> None:
        """Install what compiling needs."""
        self.install('-r', str(REQUIREMENTS / 'build.txt'))

    def build(self) -> None:
        """Run the steps that are not stamped yet."""
        key = environment_key()
        for name in list(STEPS)[:-1]:
            stamp = self.env / '.stamps' / name
            # An environment in .venv outlives a change of its requirements,
            # and with it the compiled mmcv.
            if stamp.exists() and (
                name == 'create' or stamp.read_text() in ('', key)
            ):
                continue
            step = announce(name)
            start = time.monotonic()
            getattr(self, name)()
            stamp.parent.mkdir(exist_ok=True)
            stamp.write_text(key)
            say(f'{step} done, {time.monotonic() - start:.0f} s')


def check_disk(env: Path) -> None:
    """Refuse to start an installation that the disk cannot hold."""
    free = shutil.disk_usage(env.parent).free / 1e9
    other = os.environ.get('TORCH_INDEX_URL')
    needed = NEEDED_GB_OTHER_INDEX if other else NEEDED_GB
    if free < needed and not (env / '.stamps' / 'torch').exists():
        stop(
            f'{env.parent} has {free:.1f} GB free and the installation needs '
            f'{needed}: free some, or set DSYM_CACHE to a larger disk.'
        )


def link_scripts(env: Path, venv: Path) -> None:
    """Give ``.venv/bin`` the commands of the shared environment."""
    old = f'#!{env / "bin" / "python"}'
    for script in (env / 'bin').iterdir():
        target = venv / 'bin' / script.name
        if os.path.lexists(target) or not script.is_file():
            continue
        if script.read_bytes().startswith(old.encode()):
            body = script.read_text().split('\n', 1)[1]
            target.write_text(f'#!{venv / "bin" / "python"}\n{body}')
            target.chmod(0o755)
        else:
            target.symlink_to(script)


def install_dsym(env: Path, venv: Path) -> None:
    """Make ``.venv`` of the environment and of this checkout's ``dsym``."""
    sources = [ROOT / 'setup.py', ROOT / 'pyproject.toml']
    state = '\n'.join([str(env), *(path.read_text() for path in sources)])
    stamp = venv / '.dsym-installed'
    if stamp.exists() and stamp.read_text() == state:
        return
    if env != venv:
        if venv.is_symlink():
            venv.unlink()
        command = [sys.executable, '-m', 'venv', '--clear', str(venv)]
        subprocess.run(command, check=True)
        # A plain path in a .pth file would not run the .pth files in there.
        (venv / PACKAGES / 'dsym_env.pth').write_text(
            f'import site; site.addsitedir({str(env / PACKAGES)!r})\n'
        )
        link_scripts(env, venv)
    announce('dsym')
    command = [str(venv / 'bin' / 'python'), '-m', 'pip', 'install', '-q']
    command += ['--disable-pip-version-check', '--no-deps']
    command += ['--no-build-isolation', '-e', str(ROOT)]
    if subprocess.run(command, stdin=subprocess.DEVNULL).returncode:
        stop('installing dsym failed; see above.')
    # Now and not at the first training; without a compiler it says so itself.
    command = 'from dsym.ops import load_ops; load_ops()'
    subprocess.run([str(venv / 'bin' / 'python'), '-c', command], check=True)
    stamp.write_text(state)


def main() -> None:
    """Build the environment and ``.venv``."""
    if sys.version_info < (3, 11):
        stop(
            f'Python {platform.python_version()} is too old for the pinned '
            'stack: run make with PYTHON=<a Python 3.11>.'
        )
    cache = cache_dir()
    venv = ROOT / '.venv'
    local = os.environ.get('DSYM_CACHE') == ''
    env = venv if local else cache / f'env-{environment_key()}'
    env.parent.mkdir(parents=True, exist_ok=True)
    lock_path = env.parent / f'{env.name}.lock'
    with lock_path.open('w') as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f'another process builds {env}: waiting for it')
            fcntl.flock(lock, fcntl.LOCK_EX)
        check_disk(env)
        Installer(env, cache, lock.fileno()).build()
        install_dsym(env, venv)


if __name__ == '__main__':
    try:
        main()
    except KeyboardInterrupt:
        stop('interrupted: run the same make target again to go on.')
