"""A missing peer is no reason to fail, but in CI."""

import pytest
from require_peer import require_peer


@pytest.mark.parametrize(
    ('ci', 'outcome'),
    [('true', pytest.fail.Exception), ('', pytest.skip.Exception)],
)
def test_missing(monkeypatch, ci, outcome):
    monkeypatch.setenv('CI', ci)
    assert require_peer('found', 'any') == 'found'
    with pytest.raises(outcome, match='the peer yolo9 is missing'):
        require_peer(None, 'yolo9')
