"""Where caches lie."""

from pathlib import Path

import pytest

from dsym.cache_folder import cache_folder


@pytest.mark.parametrize(
    'variables, folder',
    [
        ({'DSYM_CACHE': '/a', 'XDG_CACHE_HOME': '/b'}, '/a/clip'),
        ({'XDG_CACHE_HOME': '/b'}, '/b/dsym/clip'),
        ({'HOME': '/c'}, '/c/.cache/dsym/clip'),
    ],
)
def test_default_folder__by_environment(monkeypatch, variables, folder):
    for name in ('DSYM_CACHE', 'XDG_CACHE_HOME'):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert cache_folder('clip') == Path(folder)
