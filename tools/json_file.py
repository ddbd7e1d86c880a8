"""JSON files that are whole whenever they are read."""

import json
import os
from pathlib import Path
from typing import Any

from dsym.evaluation.pseudo_label_audit import nan_to_none


def write_json(path: Path, content: Any) -> None:
    """Write a JSON, whole or not at all, also if the power fails.

    Args:
        path (Path): The file; its folder exists.
        content (Any): NaN and infinity in it, which JSON lacks, are written
            as null.
    """
    unfinished = path.with_suffix('.tmp')
    with unfinished.open('w') as file:
        json.dump(nan_to_none(content), file, indent=2, allow_nan=False)
        file.write('\n')
        file.flush()
        os.fsync(file.fileno())
    unfinished.rename(path)
