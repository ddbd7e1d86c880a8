"""Write labels as Pascal VOC, an xml file an image."""

import os
import xml.etree.ElementTree as ET
from pathlib import Path, PurePosixPath
from typing import Any, Dict, List, Optional, Sequence, Set, Tuple

from mmengine.structures import InstanceData

from ..errors import InputError
from .sources import Frame
from .writers import DIGITS, Writer


def whole_pixels(box: Sequence[float], width: int, height: int) -> List[int]:
    """Round a box; annotation tools read whole numbers from VOC files.

    Args:
        box (Sequence[float]): xyxy in pixels.
        width (int): Of the image.
        height (int): Of the image.

    Returns:
        list[int]: xyxy, in the image, a pixel wide and high at least.
    """
    # by way of COCO's digits, so that both formats say the same
    x1, y1, x2, y2 = (round(round(x, DIGITS)) for x in box)
    x1, y1 = min(max(x1, 0), width - 1), min(max(y1, 0), height - 1)
    return [x1, y1, max(min(x2, width), x1 + 1), max(min(y2, height), y1 + 1)]


class VocWriter(Writer):
    """An xml file an image, also for images without boxes.

    Args:
        folder (Path): Mirrors the subfolders of the images.
        classes (Sequence[str]): Names in label order.
    """

    def __init__(self, folder: Path, classes: Sequence[str]) -> None:
        self.folder = folder
        self.classes = classes
        self._names: Set[PurePosixPath] = set()

    def write(
        self,
        frame: Frame,
        boxes: InstanceData,
        extra: Optional[Sequence[Dict[str, Any]]] = None,
    ) -> None:
        """Write an image's file.

        Args:
            frame (Frame): The image.
            boxes (InstanceData): Its labels.
            extra (Sequence[dict], optional): More elements of each object.

        Raises:
            InputError: If another image has the same name but for its suffix,
                or the name is not UTF-8, which xml cannot hold.
        """
        if not is_utf8(frame.name):
            raise InputError(
                f'{frame.name!r}: the name is not UTF-8, as xml needs it; '
                'rename the image, or write --formats coco'
            )
        name = PurePosixPath(frame.name).with_suffix('.xml')
        if name in self._names:
            raise InputError(
                f'{frame.name}: another image would have the annotation '
                f'{name} too; rename one, or write --formats coco'
            )
        self._names.add(name)
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        shape = frame.image.shape[:2]
        file.write_bytes(
            voc_xml(frame.name, shape, boxes, self.classes, extra)
        )

    def close(self) -> Path:
        """Nothing is open."""
        return self.folder


def voc_xml(
    name: str,
    shape: Tuple[int, int],
    boxes: InstanceData,
    classes: Sequence[str],
    extra: Optional[Sequence[Dict[str, Any]]] = None,
) -> bytes:
    """Content of an image's file.

    Args:
        name (str): Of the image, with ``/``.
        shape (tuple[int]): Its height and width.
        boxes (InstanceData): Its labels.
        classes (Sequence[str]): Names in label order.
        extra (Sequence[dict], optional): More elements of each object.

    Returns:
        bytes: The file.
    """
    height, width = shape
    root = ET.Element('annotation')
    path = PurePosixPath(name)
    add(root, 'folder', path.parent if path.parent.name else '')
    add(root, 'filename', path.name)
    size = ET.SubElement(root, 'size')
    for key, value in (('width', width), ('height', height), ('depth', 3)):
        add(size, key, value)
    add(root, 'segmented', 0)
    for i, (box, score, label) in enumerate(
        zip(
            boxes.bboxes.tolist(),
            boxes.scores.tolist(),
            boxes.labels.tolist(),
        )
    ):
        entry = ET.SubElement(root, 'object')
        add(entry, 'name', classes[label])
        add(entry, 'pose', 'Unspecified')
        add(entry, 'truncated', 0)
        add(entry, 'difficult', 0)
        corners = ET.SubElement(entry, 'bndbox')
        for key, value in zip(
            ('xmin', 'ymin', 'xmax', 'ymax'),
            whole_pixels(box, width, height),
        ):
            add(corners, key, value)
        add(entry, 'score', f'{score:.4f}')
        for key, value in (extra[i] if extra else {}).items():
            add(entry, key, value)
    ET.indent(root)
    return ET.tostring(root, 'utf-8') + b'\n'


def is_utf8(name: str) -> bool:
    """Whether a file's name is text in UTF-8."""
    return name == os.fsencode(name).decode(errors='replace')


def add(parent: ET.Element, key: str, value: Any) -> None:
    """Add an element with a text."""
    ET.SubElement(parent, key).text = str(value)
