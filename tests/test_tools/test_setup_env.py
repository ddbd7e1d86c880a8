"""Which steps of an installation are done again, and what they announce."""

import importlib.util
from pathlib import Path

import pytest

PATH = Path(__file__).parents[2] / 'tools' / 'dev' / 'setup_env.py'
STEPS = ['create', 'build_tools', 'torch', 'mmcv', 'toolbox', 'check']


@pytest.fixture
def setup_env():
    spec = importlib.util.spec_from_file_location('setup_env', PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def build(setup_env, folder, fails=None):
    """Build with steps that only note their names.

    Returns:
        list[str]: The steps that were begun.
    """
    begun = []

    class Noting(setup_env.Installer):
        """Downloads and compiles nothing."""

    def step(name):
        def run(self):
            begun.append(name)
            if name == fails:
                raise KeyboardInterrupt

        run.__name__ = name
        return run

    for name in STEPS:
        setattr(Noting, name, step(name))
    installer = Noting(folder, folder / 'cache', lock_fd=0)
    if fails:
        with pytest.raises(KeyboardInterrupt):
            installer.build()
    else:
        installer.build()
    return begun


def test_interrupted__goes_on_with_that_step(setup_env, tmp_path):
    assert build(setup_env, tmp_path, fails='mmcv') == STEPS[:4]
    assert build(setup_env, tmp_path) == STEPS[3:]
    assert build(setup_env, tmp_path) == []


def test_other_requirements__all_but_the_environment(
    setup_env, tmp_path, monkeypatch
):
    """Not the environment itself: it may hold the compiled mmcv."""
    build(setup_env, tmp_path)
    monkeypatch.setattr(setup_env, 'environment_key', lambda: 'other')
    assert build(setup_env, tmp_path) == STEPS[1:]
    assert build(setup_env, tmp_path) == []


def test_steps__are_announced_with_number_and_minutes(
    setup_env, tmp_path, capsys
):
    build(setup_env, tmp_path, fails='torch')
    done = '[env] step {}/7 done, 0 s'.format
    assert capsys.readouterr().out.splitlines() == [
        '[env] step 1/7, under 1 min: an empty environment',
        done(1),
        '[env] step 2/7, under 1 min: setuptools, wheel, ninja',
        done(2),
        '[env] step 3/7, about 5 min: torch, 7 GB with CUDA libraries',
    ]
    build(setup_env, tmp_path)
    lines = capsys.readouterr().out.splitlines()
    begun = [line for line in lines if ' min: ' in line]
    numbers = [line.split(',')[0] for line in begun]
    assert numbers == [f'[env] step {i}/7' for i in (3, 4, 5, 6)]
    # .venv has a step of its own, in every checkout
    assert list(setup_env.STEPS)[:-1] == STEPS
    setup_env.announce('dsym')
    line = capsys.readouterr().out
    assert line.startswith('[env] step 7/7, about 1 min: dsym itself')


def test_key_follows_the_requirements(setup_env, tmp_path, monkeypatch):
    (tmp_path / 'lock.txt').write_text('torch==2.9.1\n')
    monkeypatch.setattr(setup_env, 'REQUIREMENTS', tmp_path)
    before = setup_env.environment_key()
    assert setup_env.environment_key() == before
    (tmp_path / 'lock.txt').write_text('torch==2.9.2\n')
    assert setup_env.environment_key() != before
