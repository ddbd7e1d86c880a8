"""The JSON that an audit of CLIP leaves."""

import json
from pathlib import Path
from typing import Any, Dict

from dsym.clip.models import LoadedCLIP
from dsym.evaluation.pseudo_label_audit import nan_to_none
from dsym.provenance import describe_machine, git_commit


def write_audit(
    path: Path, name: str, clip: LoadedCLIP, content: Dict[str, Any]
) -> None:
    """Write what an audit found, and of which CLIP.

    Args:
        path (Path): JSON; its folder is made if need be.
        name (str): CLIP as the command line has it, a folder or a name.
        clip (LoadedCLIP): The same, loaded.
        content (dict): What was found; NaN is written as null.
    """
    record = dict(
        content,
        clip=Path(name).name,
        fingerprint=clip.fingerprint(),
        commit=git_commit(),
        machine=describe_machine(),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(nan_to_none(record), indent=2) + '\n')
    print(f'wrote {path}')
