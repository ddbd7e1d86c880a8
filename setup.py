"""Package dsym the way OpenMMLab packages do.

``projects/dsym`` is installed as ``dsym``; configs, tools and the model index
go beside it into ``dsym/.mim``, where mim and MMEngine look for them.
"""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
PACKAGE = Path('projects') / 'dsym'
MIM_FILES = ('configs', 'tools', 'model-index.yml')


def read_version() -> str:
    """Return ``__version__`` without importing the package."""
    scope: dict = {}
    exec((ROOT / PACKAGE / 'version.py').read_text(), scope)
    return scope['__version__']


def read_requirements(name: str) -> list:
    """Return the requirements of ``requirements/{name}.txt``."""
    text = (ROOT / 'requirements' / f'{name}.txt').read_text()
    lines = [line.strip() for line in text.splitlines()]
    return [line for line in lines if line and not line.startswith('#')]


def remove(path: Path) -> None:
    """Remove a file, a link or a folder, if it is there."""
    if path.is_symlink() or path.is_file():
        path.unlink()
    else:
        shutil.rmtree(path, ignore_errors=True)


def compile_operators() -> None:
    """Compile the C++ operators into torch's cache, if torch is there.

    The first use does it otherwise: in an isolated build there is no torch.
    """
    if all(map(importlib.util.find_spec, ('torch', 'mmengine'))):
        build = str(ROOT / PACKAGE / 'ops' / 'build.py')
        code = f'import runpy; runpy.run_path({build!r})["load_ops"]()'
        subprocess.run([sys.executable, '-c', code])


class BuildPyWithMim(build_py):
    """Adds ``.mim``: copies in a wheel, links in an editable install."""

    def run(self) -> None:
        """Build the package, then its ``.mim`` folder."""
        super().run()
        links = self.editable_mode
        package = ROOT / PACKAGE if links else Path(self.build_lib) / 'dsym'
        mim = package / '.mim'
        remove(mim)  # what an older build left there may be outdated
        mim.mkdir(parents=True)
        for name in MIM_FILES:
            source, target = ROOT / name, mim / name
            if links:
                target.symlink_to(os.path.relpath(source, mim))
            elif source.is_dir():
                ignored = shutil.ignore_patterns('__pycache__', 'dev')
                shutil.copytree(source, target, ignore=ignored)
            else:
                shutil.copy(source, target)
        compile_operators()


setup(
    name='dsym',
    version=read_version(),
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    description='Semi-supervised defect detection for the OpenMMLab toolbox',
    license='GPL-3.0-only',
    keywords='computer vision, object detection, defect detection',
    classifiers=[
        'Programming Language :: Python :: 3',
        'Topic :: Scientific/Engineering :: Artificial Intelligence',
    ],
    python_requires='>=3.9',
    packages=find_packages('projects', include=['dsym', 'dsym.*']),
    package_dir={'dsym': 'projects/dsym'},
    package_data={
        'dsym': ['datasets/splits/**/*.txt', 'ops/csrc/*', 'weights/**/*']
    },
    install_requires=read_requirements('runtime'),
    extras_require={
        'mim': read_requirements('mminstall'),
        'tests': read_requirements('tests'),
    },
    cmdclass={'build_py': BuildPyWithMim},
    zip_safe=False,
)
