"""What a test does whose peer, a package to compare with, is missing."""

import os
from typing import Optional, TypeVar

import pytest

Peer = TypeVar('Peer')


def require_peer(found: Optional[Peer], name: str) -> Peer:
    """Skip the test without its peer; fail it in CI, which installs all.

    Args:
        found (any, optional): What looking for the peer gave.
        name (str): Of the package.

    Returns:
        any: ``found``.
    """
    if found is None:
        stop = pytest.fail if os.environ.get('CI') else pytest.skip
        stop(f'the peer {name} is missing: see requirements/peers.txt')
    return found
