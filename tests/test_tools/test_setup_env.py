"""Which steps of an installation are done again."""

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


def test_key_follows_the_requirements(setup_env, tmp_path, monkeypatch):
    (tmp_path / 'lock.txt').write_text('torch==2.9.1\n')
    monkeypatch.setattr(setup_env, 'REQUIREMENTS', tmp_path)
    before = setup_env.environment_key()
    assert setup_env.environment_key() == before
    (tmp_path / 'lock.txt').write_text('torch==2.9.2\n')
    assert setup_env.environment_key() != before
