"""Defect data sets in Pascal VOC form: an xml file an image."""

import math
import os.path as osp
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Optional, Tuple

from mmengine.registry import DATASETS

from .defect_dataset import DefectDataset, RawAnnotation
from .file_index import IMAGE_SUFFIXES
from .issues import DatasetError, Issue, malformed

CORNERS = ('xmin', 'ymin', 'xmax', 'ymax')
DIFFICULT_POLICIES = ('keep', 'ignore', 'drop')
ENCODING = re.compile(rb'\s*<\?xml[^>]*?encoding\s*=\s*["\']([\w.:-]+)')


@DATASETS.register_module()
class DefectVOCDataset(DefectDataset):
    """Images with Pascal VOC xml files, strict about what it reads.

    Against mmdet's ``XMLDataset``: an unknown class stops instead of being
    left out, the class list is the user's, any image suffix is found,
    ``<filename>`` is not trusted (the xml's own stem names the image), and
    the policies for coordinates and difficult boxes can be chosen. Each xml
    is parsed once, when the data set is loaded.

    Args:
        data_prefix (dict): Folders below ``data_root``. Defaults to
            ``dict(img='JPEGImages', ann='Annotations')``.
        one_based (bool): Whether the first pixel is 1, as in VOC: 1 is then
            subtracted from all four coordinates, as ``XMLDataset`` does.
            Defaults to False, coordinates as they are.
        difficult (str): What becomes of boxes with ``<difficult>1``:
            ``'keep'`` as ordinary boxes, ``'ignore'`` (neither right nor
            wrong, as ``XMLDataset`` does) or ``'drop'``. Defaults to
            ``'keep'``.
        **kwargs: As in :class:`DefectDataset`.
    """

    ANN_SUFFIX = '.xml'

    def __init__(
        self,
        *,
        data_prefix: Optional[dict] = None,
        one_based: bool = False,
        difficult: str = 'keep',
        **kwargs,
    ) -> None:
        if difficult not in DIFFICULT_POLICIES:
            raise DatasetError(
                f'difficult={difficult!r} is none of '
                f'{", ".join(DIFFICULT_POLICIES)}: choose one'
            )
        self.one_based = one_based
        self.difficult = difficult
        default = {'img': 'JPEGImages', 'ann': 'Annotations'}
        super().__init__(
            data_prefix={**default, **(data_prefix or {})}, **kwargs
        )

    def read_annotation(self, path: str) -> RawAnnotation:
        """Parse one xml file.

        Args:
            path (str): The xml file.

        Returns:
            RawAnnotation: Boxes in pixels, the size if the file has one.
        """
        raw = RawAnnotation()
        try:
            root = parse_xml(Path(path).read_bytes())
        except (ET.ParseError, ValueError, LookupError) as error:
            raw.issues.append(malformed(path, f'is no valid xml ({error})'))
            return raw
        raw.size = _image_size(root)
        stem = osp.splitext(osp.basename(path))[0]
        file_name = (root.findtext('filename') or '').strip()
        named, suffix = osp.splitext(osp.basename(file_name))
        if file_name and (
            named != stem or suffix.lower() not in IMAGE_SUFFIXES
        ):
            raw.issues.append(
                Issue(
                    'file_name_differs',
                    path,
                    f'{path} says <filename>{file_name}: its own stem is used',
                )
            )
        for number, element in enumerate(root.iter('object'), start=1):
            self._read_object(element, number, path, raw)
        return raw

    def _read_object(
        self, element: ET.Element, number: int, path: str, raw: RawAnnotation
    ) -> None:
        """Add one ``<object>`` to the annotation."""
        name = (element.findtext('name') or '').strip()
        box = [_number(element.find(f'bndbox/{key}')) for key in CORNERS]
        difficult = _number(element.find('difficult'), default=0.0)
        if None in box or difficult is None:
            raw.issues.append(
                malformed(
                    path,
                    f'object {number} lacks a number in <bndbox> or '
                    '<difficult>',
                )
            )
            return
        if name not in self.classes:
            raw.issues.append(
                Issue(
                    'unknown_class',
                    path,
                    f'{path}: object {number} has the class {name!r}, which '
                    f'is not in {self.classes}: add it to metainfo.classes '
                    'or correct the file',
                )
            )
            return
        if difficult:
            raw.issues.append(
                Issue(
                    'difficult_box',
                    path,
                    f'{path}: object {number} ({name}) is marked difficult',
                )
            )
            if self.difficult == 'drop':
                return
        offset = 1.0 if self.one_based else 0.0
        raw.boxes.append([value - offset for value in box])
        raw.labels.append(self.classes.index(name))
        raw.ignore_flags.append(
            int(bool(difficult and self.difficult == 'ignore'))
        )


def _number(
    element: Optional[ET.Element], default: Optional[float] = None
) -> Optional[float]:
    """The finite number in an element, None if it is not one."""
    if element is None:
        return default
    try:
        value = float(element.text)
    except (TypeError, ValueError):
        return None
    return value if math.isfinite(value) else None


def _image_size(root: ET.Element) -> Optional[Tuple[int, int]]:
    """Width and height that the file states, None without them."""
    width = _number(root.find('size/width'))
    height = _number(root.find('size/height'))
    return (int(width), int(height)) if width and height else None


def parse_xml(content: bytes) -> ET.Element:
    """Parse xml in any encoding that Python knows.

    Args:
        content (bytes): Of a file.

    Returns:
        ET.Element: Its root.

    Raises:
        ET.ParseError: If it is no xml.
        ValueError: If it is not in the encoding that it declares.
        LookupError: If nobody knows this encoding.
    """
    try:
        return ET.fromstring(content)
    except ValueError:
        # expat reads no encoding of several bytes but UTF-8 and 16, and
        # Chinese and Japanese tools write GBK and Shift-JIS
        declared = ENCODING.match(content)
        if declared is None:
            raise
        return ET.fromstring(content.decode(declared[1].decode()))
