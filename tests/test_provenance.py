"""Where a figure comes from."""

import subprocess

import pytest

from dsym import provenance


def test_commit__of_another_project_is_not_ours(tmp_path, monkeypatch):
    """An environment inside somebody's checkout."""

    def git(*arguments):
        subprocess.run(['git', *arguments], cwd=tmp_path, check=True)

    git('init', '-q')
    git('config', 'user.email', 'a@b')
    git('config', 'user.name', 'a')
    (tmp_path / 'theirs.py').write_text('')
    (tmp_path / 'ours.py').write_text('')
    git('add', 'theirs.py')
    git('commit', '-qm', 'theirs')
    monkeypatch.setattr(provenance, '__file__', str(tmp_path / 'ours.py'))
    assert provenance.git_commit() == ''
    monkeypatch.setattr(provenance, '__file__', str(tmp_path / 'theirs.py'))
    assert len(provenance.git_commit()) == 12


@pytest.mark.parametrize('path', ['', '/nowhere'])
def test_commit__without_git(monkeypatch, path):
    monkeypatch.setenv('PATH', path)
    assert provenance.git_commit() == ''
