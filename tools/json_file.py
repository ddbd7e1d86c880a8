"""JSON files that are whole whenever they are read."""

import json
import math
import os
from pathlib import Path
from typing import Any


def write_json(path: Path, content: Any) -> None:
    """Write a JSON, whole or not at all, also if the power fails.

    Args:
        path (Path): The file; its folder exists.
        content (Any): NaN and infinity in it, which JSON lacks, are written
            as null.
    """
    unfinished = path.with_suffix('.tmp')
    with unfinished.open('w') as file:
        json.dump(finite(content), file, indent=2, allow_nan=False)
        file.write('\n')
        file.flush()
        os.fsync(file.fileno())
    unfinished.rename(path)


def finite(content: Any) -> Any:
    """Replace figures that JSON does not know by None, however deep."""
    if isinstance(content, dict):
        return {key: finite(value) for key, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [finite(value) for value in content]
    if isinstance(content, float) and not math.isfinite(content):
        return None
    return content
