"""Data sets in YOLO's text form: one line a box, as fractions."""

import math
from typing import Optional

from mmengine.registry import DATASETS

from .defect_dataset import DefectDataset, RawAnnotation
from .issues import Issue, malformed

# A fraction is 1 at most, with some room for boxes that leave the image.
LARGEST = 1.5


@DATASETS.register_module()
class YOLOTxtDataset(DefectDataset):
    """Images with YOLO label files (``class cx cy width height``).

    Values are fractions of the image, and pixels are refused; label files
    mirror the images' tree. An image without a label file, or with an empty
    one, has no defect. When no image at all has one, the folder is taken for
    wrong and loading stops.

    Args:
        data_prefix (dict): Folders below ``data_root``. Defaults to
            ``dict(img='images', ann='labels')``.
        **kwargs: As in :class:`DefectDataset`; ``metainfo.classes`` is in
            the order of the class numbers. Entries of ``ann_file`` may also
            be paths of image files, as in YOLO's own lists.
    """

    ANN_SUFFIX = '.txt'
    ANN_REQUIRED = False
    MIRRORED = True
    # Labelling tools leave their class list beside the labels.
    NO_ANNOTATIONS = ('classes.txt',)

    def __init__(
        self, *, data_prefix: Optional[dict] = None, **kwargs
    ) -> None:
        default = {'img': 'images', 'ann': 'labels'}
        super().__init__(
            data_prefix={**default, **(data_prefix or {})}, **kwargs
        )

    def read_annotation(self, path: str) -> RawAnnotation:
        """Parse one label file.

        Args:
            path (str): The text file.

        Returns:
            RawAnnotation: Boxes as fractions of the image.
        """
        raw = RawAnnotation(normalized=True)
        try:
            with open(path, encoding='utf-8-sig') as file:
                lines = file.read().splitlines()
        except UnicodeDecodeError:
            raw.issues.append(malformed(path, 'is not a text file'))
            return raw
        for number, line in enumerate(lines, start=1):
            if line.strip():
                self._read_line(line, number, path, raw)
        return raw

    def _read_line(
        self, line: str, number: int, path: str, raw: RawAnnotation
    ) -> None:
        """Add one line to the annotation."""
        fields = line.split()
        try:
            label, cx, cy, width, height = map(float, fields)
        except ValueError:
            raw.issues.append(
                malformed(
                    path,
                    f'line {number} is not "class cx cy width height": '
                    f'{line.strip()[:60]!r}',
                )
            )
            return
        if not all(map(math.isfinite, (label, cx, cy, width, height))):
            raw.issues.append(
                malformed(
                    path, f'line {number} has a number that is not finite'
                )
            )
            return
        if max(cx, cy, width, height) > LARGEST:
            raw.issues.append(
                malformed(
                    path,
                    f'line {number} is in pixels: divide by the width and '
                    'height of the image',
                )
            )
            return
        if not label.is_integer() or not 0 <= label < len(self.classes):
            raw.issues.append(
                Issue(
                    'unknown_class',
                    path,
                    f'{path}: line {number} has the class {fields[0]}, but '
                    f'there are {len(self.classes)} classes from 0 '
                    f'({", ".join(self.classes)}): complete metainfo.classes '
                    'or correct the file',
                )
            )
            return
        raw.boxes.append(
            [
                cx - width / 2,
                cy - height / 2,
                cx + width / 2,
                cy + height / 2,
            ]
        )
        raw.labels.append(int(label))
        raw.ignore_flags.append(0)
