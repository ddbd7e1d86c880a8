"""Code of others that ours is measured against.

``make env`` installs it into a folder beside the other packages, which is
searched, after them, by processes that import this package.
"""

import sys
from pathlib import Path

FOLDER = 'dsym_peers'

sys.path += [
    str(Path(place, FOLDER))
    for place in sys.path
    if Path(place, FOLDER).is_dir()
]
