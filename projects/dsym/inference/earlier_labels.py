"""What an earlier run wrote into a folder, and what became of it."""

import json
from pathlib import Path, PurePosixPath
from typing import Any, Dict, Iterator, List, Optional, Tuple

import torch
from mmengine.structures import InstanceData

from ..errors import InputError
from .corrections import COCO, VOC, WRITTEN
from .voc_writer import voc_xml

SUMMARY = 'summary.json'
# of an annotation; the others are marks, which VOC files have too
COCO_KEYS = {
    'id',
    'image_id',
    'category_id',
    'bbox',
    'area',
    'iscrowd',
    'score',
}


def written_xml(written: Dict[str, Any]) -> Iterator[Tuple[str, bytes]]:
    """The VOC files that were written with a COCO file.

    Args:
        written (dict): The COCO file.

    Yields:
        tuple[str, bytes]: Path below the folder of VOC files, and content.
    """
    classes = [x['name'] for x in written['categories']]
    found: Dict[int, List[dict]] = {x['id']: [] for x in written['images']}
    for ann in written['annotations']:
        found[ann['image_id']].append(ann)
    for image in written['images']:
        anns = found[image['id']]
        # not float32, which would lose the digits of the file
        corners = torch.tensor(
            [x['bbox'] for x in anns], dtype=torch.float64
        ).reshape(-1, 4)
        corners[:, 2:] += corners[:, :2]
        scores = [x['score'] for x in anns]
        boxes = InstanceData(
            bboxes=corners,
            scores=torch.tensor(scores, dtype=torch.float64),
            labels=torch.tensor([x['category_id'] - 1 for x in anns]).long(),
        )
        extra = [
            {k: v for k, v in x.items() if k not in COCO_KEYS} for x in anns
        ]
        name = image['file_name']
        shape = image['height'], image['width']
        file = PurePosixPath(name).with_suffix('.xml').as_posix()
        yield file, voc_xml(name, shape, boxes, classes, extra)


def label_files(folder: Path) -> List[Path]:
    """The label files of both formats that are there."""
    coco = [folder / COCO] if (folder / COCO).exists() else []
    return coco + sorted((folder / VOC).rglob('*.xml'))


def find_change(folder: Path) -> Optional[Path]:
    """Find a label file that is not as it was written.

    Args:
        folder (Path): Of an earlier run, or any other.

    Returns:
        Path, optional: A file that was changed, added or removed; None if
        there is none. A format that is gone as a whole is no change.
    """
    there, file = label_files(folder), folder / WRITTEN
    if not there or not file.is_file():
        return there[0] if there else None
    text = file.read_bytes()
    coco = folder / COCO
    if coco in there:
        there.remove(coco)
        # both files have one content
        if coco.read_bytes() != text:
            return coco
    if not there:
        return None
    expected = {
        folder / VOC / name: content
        for name, content in written_xml(json.loads(text))
    }
    for path in sorted(expected.keys() | set(there)):
        if path not in expected or not path.is_file():
            return path
        if path.read_bytes() != expected[path]:
            return path
    return None


def check_unchanged(folder: Path) -> None:
    """Raise :class:`InputError` if corrections would be lost."""
    change = find_change(folder)
    if change is not None:
        raise InputError(
            f'{change} is not as this tool wrote it: read the corrections by '
            '--read, then give another --out-dir, or --overwrite to lose them'
        )


def remove_labels(folder: Path) -> None:
    """Remove the label files of a folder and what was written with them.

    Args:
        folder (Path): Other files stay.
    """
    for path in label_files(folder):
        path.unlink()
    # from the innermost on; those that hold other files stay
    for parent in sorted((folder / VOC).rglob('*'), reverse=True):
        if parent.is_dir() and not any(parent.iterdir()):
            parent.rmdir()
    if (folder / VOC).is_dir() and not any((folder / VOC).iterdir()):
        (folder / VOC).rmdir()
    for name in (SUMMARY, WRITTEN):
        (folder / name).unlink(missing_ok=True)
