"""Compiling the operators, and doing without."""

import ctypes
import os
import platform
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.utils.cpp_extension import get_default_build_root

from dsym.ops import build


@pytest.mark.parametrize('missing', ['ninja', 'no-such-compiler'])
def test_without_tools__one_warning(monkeypatch, tmp_path, missing):
    monkeypatch.setenv('TORCH_EXTENSIONS_DIR', str(tmp_path))
    monkeypatch.setenv('CXX', 'no-such-compiler -m64')
    if missing == 'ninja':
        monkeypatch.setattr(build.shutil, 'which', lambda name, path: None)
    said = []
    monkeypatch.setattr(
        build, 'print_log', lambda text, **kwargs: said.append(text)
    )
    build.load_ops.cache_clear()
    try:
        assert not build.load_ops() and not build.load_ops()
    finally:
        build.load_ops.cache_clear()
    assert 'compiling' in said[0]
    (warning,) = [text for text in said if 'not built' in text]
    assert f'{missing} is not on the PATH' in warning
    assert 'install a C++ compiler and ninja' in warning


@pytest.mark.skipif(not build.load_ops(), reason='no C++ compiler or ninja')
def test_operators__run_in_threads():
    """Without OpenMP at::parallel_for would be a plain loop."""
    folder = os.environ.get('TORCH_EXTENSIONS_DIR')
    root = Path(folder or get_default_build_root())
    name = build._build_name()
    assert b'GOMP_parallel' in (root / name / f'{name}.so').read_bytes()


def test_installation__compiles_what_the_first_use_finds():
    """setup.py runs the file alone, before there is a package."""
    alone = runpy.run_path(build.__file__)
    assert alone['_build_name']() == build._build_name()


@pytest.mark.skipif(not build.load_ops(), reason='no C++ compiler or ninja')
def test_cut_library_is_compiled_again(monkeypatch, tmp_path):
    """As a kill leaves it, beside torch's lock, which nobody would free."""
    monkeypatch.setenv('TORCH_EXTENSIONS_DIR', str(tmp_path))
    source = tmp_path / 'empty.cpp'
    source.write_text('extern "C" int dsym_test_of_build() { return 7; }')
    monkeypatch.setattr(build, 'SOURCES', [source])
    name = build._build_name()
    folder = tmp_path / name
    folder.mkdir()
    library = folder / f'{name}.so'
    library.write_bytes(b'\x7fELF')
    (folder / 'lock').touch()
    load = build.load_ops.__wrapped__
    assert load()
    assert ctypes.CDLL(str(library)).dsym_test_of_build() == 7
    written = library.stat().st_mtime_ns
    assert load()
    assert library.stat().st_mtime_ns == written


@pytest.mark.skipif(not build.load_ops(), reason='no C++ compiler or ninja')
@pytest.mark.skipif(
    platform.machine() != 'x86_64', reason='names of x86 processors'
)
@pytest.mark.parametrize(
    ('processor', 'width'), [('x86-64', 16), ('x86-64-v3', 32)]
)
def test_same_values_with_narrower_vectors(tmp_path, processor, width):
    """The operators' tests, compiled for any processor, and for AVX2."""
    if width >= torch.ops.dsym.vector_bytes():
        pytest.skip('what all other tests run here')
    root = Path(__file__).parents[1]
    scan = 'test_models/test_selective_scan.py'
    files = [
        f'{scan}::test_values_and_gradients',
        f'{scan}::test_threads__share_the_work_alike',
        f'{scan}::test_long_sequence_and_extreme_steps',
        'test_ops/test_fused_norm.py',
    ]
    script = (
        'import sys, pytest, torch; '
        'failed = pytest.main(["-q", "-n", "0", *sys.argv[1:]]); '
        'print("bytes:", torch.ops.dsym.vector_bytes()); '
        'sys.exit(failed)'
    )
    done = subprocess.run(
        [sys.executable, '-c', script, *files],
        cwd=root,
        env={
            **os.environ,
            'DSYM_MARCH': processor,
            'TORCH_EXTENSIONS_DIR': str(tmp_path),
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
    assert done.stdout.splitlines()[-1] == f'bytes: {width}'
    assert 'no C++ compiler' not in done.stdout


def test_reason_is_the_compilers(monkeypatch, tmp_path):
    monkeypatch.setenv('TORCH_EXTENSIONS_DIR', str(tmp_path))
    source = tmp_path / 'wrong.cpp'
    source.write_text('int nothing = undeclared;')
    monkeypatch.setattr(build, 'SOURCES', [source])
    said = []
    monkeypatch.setattr(
        build, 'print_log', lambda text, **kwargs: said.append(text)
    )
    assert not build.load_ops.__wrapped__()
    assert 'error: ' in said[-1] and 'undeclared' in said[-1]
    assert len(said[-1].splitlines()) == 1
