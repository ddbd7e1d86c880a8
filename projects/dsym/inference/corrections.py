"""Read corrected labels back, and compare them with what was written."""

import json
import os
import os.path as osp
import tempfile
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Dict, List, NamedTuple, Sequence, Tuple

import numpy as np
import torch
from mmdet.structures.bbox import bbox_overlaps
from scipy.optimize import linear_sum_assignment

from ..datasets.coco_export import infos_to_coco
from ..datasets.defect_voc import DefectVOCDataset
from ..datasets.issues import ISSUE_KINDS, DatasetError, Issue
from ..datasets.verified_coco import VerifiedCocoDataset
from ..errors import InputError, MissingFileError
from .voc_writer import is_utf8, whole_pixels

WRITTEN = 'written.json'  # what was written, never to be edited
COCO, VOC = 'coco.json', 'voc'
SAME_BOX = 0.3  # IoU from which on two boxes mean the same defect
ROUNDING = 0.02  # px that annotation tools lose

Box = Tuple[int, List[float]]  # label, xyxy


class ReviewedCoco(VerifiedCocoDataset):
    """A COCO file that an annotation tool wrote.

    Categories are known by their names, in whatever order.
    """

    def _check_classes(self, content: dict) -> None:
        """Any order will do; a category that is missing is not used."""


class ReviewedVoc(DefectVOCDataset):
    """xml files in a folder that mirrors the one of the images."""

    MIRRORED = True


class Change(NamedTuple):
    """What became of one box.

    Attributes:
        kind (str): 'kept', 'moved', 'relabelled', 'added' or 'removed'.
        before (Box, optional): As it was written.
        after (Box, optional): As it is now.
        iou (float, optional): Of both.
    """

    kind: str
    before: Any
    after: Any
    iou: Any


@dataclass
class Review:
    """Corrected labels.

    Attributes:
        infos (list[dict]): Data infos of the images, as mmdet's.
        issues (list[Issue]): Everything that is wrong.
        changes (dict[str, list[Change]]): By the image's name.
        left_out (list[str]): Images that are gone, file and labels.
    """

    infos: List[dict]
    issues: List[Issue]
    changes: Dict[str, List[Change]] = field(default_factory=dict)
    left_out: List[str] = field(default_factory=list)

    def counts(self) -> Counter:
        """Boxes of each kind of change."""
        return Counter(x.kind for y in self.changes.values() for x in y)


def read_written(folder: Path) -> Dict[str, Any]:
    """Read what the tool wrote.

    Args:
        folder (Path): Its ``--out-dir``.

    Returns:
        dict: COCO, with ``image_root`` in ``info``.

    Raises:
        MissingFileError: If it is not there.
        InputError: If it is no JSON.
    """
    file = folder / WRITTEN
    if not file.is_file():
        raise MissingFileError(
            f'{file}: no such file; give the folder that tools/pseudo_label.py'
            ' wrote, with this file unchanged'
        )
    try:
        return json.loads(file.read_text())
    except ValueError as error:
        raise InputError(
            f'{file} is no JSON ({error}): label the folder again'
        ) from None


def boxes_by_image(
    written: Dict[str, Any], whole: bool
) -> Dict[str, List[Box]]:
    """Written boxes of each image, as the format's file holds them."""
    images = {x['id']: x for x in written['images']}
    found: Dict[str, List[Box]] = {
        x['file_name']: [] for x in written['images']
    }
    for ann in written['annotations']:
        image = images[ann['image_id']]
        x, y, w, h = ann['bbox']
        box: Sequence[float] = [x, y, x + w, y + h]
        if whole:
            box = whole_pixels(box, image['width'], image['height'])
        entry = ann['category_id'] - 1, [float(x) for x in box]
        found[image['file_name']].append(entry)
    return found


def scan_coco(
    folder: Path, root: str, classes: Sequence[str], names: Sequence[str]
) -> Tuple[List[dict], List[Issue]]:
    """Read a corrected COCO file."""
    dataset = ReviewedCoco(
        ann_file=str(folder / COCO),
        data_prefix=dict(img=root),
        metainfo=dict(classes=tuple(classes)),
        test_mode=True,
        lazy_init=True,
    )
    infos, issues = dataset.scan()
    content = json.loads((folder / COCO).read_text(encoding='utf-8'))
    known = {x.get('file_name') for x in content['images']}
    issues += [
        Issue(
            'missing_annotation',
            osp.join(root, name),
            f'{osp.join(root, name)} is not in {folder / COCO} any more: put '
            'it back there, or remove the image too if it shall be left out',
        )
        for name in names
        if name not in known and osp.isfile(osp.join(root, name))
    ]
    return infos, issues


def scan_voc(
    folder: Path, root: str, classes: Sequence[str], names: Sequence[str]
) -> Tuple[List[dict], List[Issue]]:
    """Read corrected xml files, of the written images and of new ones.

    Raises:
        InputError: If the name of one is no text in UTF-8, as lists are.
    """
    stems = {str(PurePosixPath(x).with_suffix('')): x for x in names}
    new = [
        x.relative_to(folder / VOC).with_suffix('').as_posix()
        for x in sorted((folder / VOC).rglob('*.xml'))
    ]
    for name in new:
        if not is_utf8(name):
            raise InputError(
                f'{folder / VOC}: {name + ".xml"!r} is no name in UTF-8: '
                'rename it and its image'
            )
    listed = [
        name
        for stem, name in stems.items()
        if osp.isfile(osp.join(root, name)) or stem in new
    ] + [x for x in new if x not in stems]
    with tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary) / 'images.txt'
        file.write_text('\n'.join(listed) + '\n')
        return ReviewedVoc(
            data_root=root,
            ann_file=str(file),
            data_prefix=dict(img='', ann=osp.abspath(folder / VOC)),
            metainfo=dict(classes=tuple(classes)),
            test_mode=True,
            lazy_init=True,
        ).scan()


SCANS = {'coco': scan_coco, 'voc': scan_voc}


def read_corrected(folder: Path, form: str, root: str = '') -> Review:
    """Read labels of one format back and compare them.

    Args:
        folder (Path): What the tool wrote, with corrections.
        form (str): ``'coco'`` or ``'voc'``.
        root (str): Folder of the images. Defaults to the one they had.

    Returns:
        Review: Labels, faults and changes.

    Raises:
        InputError: If the folder or the format is not there.
    """
    written = read_written(folder)
    root = root or written['info']['image_root']
    if not osp.isdir(root):
        raise InputError(
            f'{root}: the folder of the images is gone; say by --images where '
            'it is now'
        )
    classes = [x['name'] for x in written['categories']]
    before = boxes_by_image(written, whole=form == 'voc')
    try:
        infos, issues = SCANS[form](folder, root, classes, list(before))
    except DatasetError as error:
        return Review([], [Issue('unreadable', str(folder), str(error))])
    review = Review(infos, issues)
    exact = boxes_by_image(written, whole=False)
    for info in infos:
        name = osp.relpath(info['img_path'], root).replace(os.sep, '/')
        after = [(x['bbox_label'], x['bbox']) for x in info['instances']]
        review.changes[name] = compare(before.get(name, []), after)
        # whole pixels that nobody touched stand for what was detected
        for instance, change in zip(info['instances'], review.changes[name]):
            if change.kind == 'kept':
                place = before[name].index(change.before)
                instance['bbox'] = exact[name][place][1]
    review.left_out = [
        name
        for name in before
        if name not in review.changes and not osp.isfile(osp.join(root, name))
    ]
    return review


def on_load(issue: Issue) -> str:
    """What a data set does with a fault: 'raise', 'warn' or 'keep'."""
    return ISSUE_KINDS[issue.kind].on_load


def find_format(folder: Path, root: str = '') -> str:
    """Find out which of the written formats was corrected.

    Args:
        folder (Path): What the tool wrote, with corrections.
        root (str): As in :func:`read_corrected`.

    Returns:
        str: ``'coco'`` or ``'voc'``.

    Raises:
        InputError: If there is none, or both were.
    """
    there = [
        form
        for form, name in (('coco', COCO), ('voc', VOC))
        if (folder / name).exists()
    ]
    if not there:
        raise InputError(
            f'{folder}: neither {COCO} nor {VOC}/ is there; put the corrected '
            'labels back under these names'
        )
    if len(there) == 1:
        return there[0]
    changed = []
    for form in there:
        review = read_corrected(folder, form, root)
        # others, such as boxes that occur twice, may have been written so
        faults = [x for x in review.issues if on_load(x) != 'keep']
        # an image alone that is gone says nothing about labels
        gone = [x for x in faults if x.kind == 'missing_image']
        left_out = len(review.left_out) > len(gone)
        others = set(review.counts()) - {'kept'}
        if len(faults) > len(gone) or left_out or others:
            changed.append(form)
    if len(changed) > 1:
        raise InputError(
            f'{folder}: both {COCO} and {VOC}/ differ from what was written; '
            'say by --format which one counts'
        )
    return (changed or there)[0]


def compare(before: Sequence[Box], after: Sequence[Box]) -> List[Change]:
    """Tell what became of an image's boxes.

    Boxes are paired so that the sum of IoUs is largest; a pair of one class
    goes before a pair of two.

    Args:
        before (Sequence[Box]): Label and xyxy, as written.
        after (Sequence[Box]): As they are now.

    Returns:
        list[Change]: One a box; those of ``after`` in their order, then what
        was removed.
    """
    ious = np.zeros((len(before), len(after)))
    if before and after:
        ious = bbox_overlaps(
            torch.tensor([x for _, x in before], dtype=torch.float64),
            torch.tensor([x for _, x in after], dtype=torch.float64),
        ).numpy()
    same = np.array([[a == b for b, _ in after] for a, _ in before])
    # a pair below the bar is worth nothing, so better ones are never given up
    worth = np.where(ious >= SAME_BOX, ious + same.reshape(ious.shape), 0)
    pairs = {
        j: i for i, j in zip(*linear_sum_assignment(-worth)) if worth[i, j] > 0
    }
    changes = []
    for j, new in enumerate(after):
        if j not in pairs:
            changes.append(Change('added', None, new, None))
            continue
        old = before[pairs[j]]
        far = max(abs(a - b) for a, b in zip(old[1], new[1]))
        kind = 'relabelled' if old[0] != new[0] else 'moved'
        if kind == 'moved' and far <= ROUNDING:
            kind = 'kept'
        changes.append(Change(kind, old, new, float(ious[pairs[j], j])))
    gone = sorted(set(range(len(before))) - set(pairs.values()))
    return changes + [Change('removed', before[i], None, None) for i in gone]


def describe_changes(review: Review, classes: Sequence[str]) -> List[str]:
    """Write what was changed, a line a box.

    Args:
        review (Review): Of :func:`read_corrected`.
        classes (Sequence[str]): Names in label order.

    Returns:
        list[str]: The lines; kept boxes have none.
    """

    def show(box: Box) -> str:
        return f'{classes[box[0]]} ({", ".join(f"{x:g}" for x in box[1])})'

    lines = [f'{name}: left out' for name in review.left_out]
    for name, changes in review.changes.items():
        for kind, before, after, iou in changes:
            if kind == 'kept':
                continue
            text = ' -> '.join(show(x) for x in (before, after) if x)
            overlap = '' if iou is None else f', IoU {iou:.2f}'
            lines.append(f'{name}: {kind} {text}{overlap}')
    return lines


def review_to_coco(
    review: Review, root: str, classes: Sequence[str]
) -> Dict[str, Any]:
    """Make a COCO data set of corrected labels.

    Args:
        review (Review): Of :func:`read_corrected`.
        root (str): Folder of the images.
        classes (Sequence[str]): Names in label order.

    Returns:
        dict: COCO; ``review`` of an annotation says what became of the box.
    """
    content = infos_to_coco(review.infos, root, classes)
    kinds = [
        change.kind
        for changes in review.changes.values()
        for change in changes
        if change.after
    ]
    for annotation, kind in zip(content['annotations'], kinds):
        annotation['review'] = kind
    return content
