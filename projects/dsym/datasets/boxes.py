"""Bring annotated boxes into their image, and say what had to be changed."""

import os.path as osp
from typing import List, Sequence, Tuple

from .issues import Issue

# Coordinates that were rounded when written, as YOLO's six decimals are, may
# overshoot the border by a hair; less than this, in pixels, is no finding.
ROUNDING = 0.01


def clean_boxes(
    boxes: Sequence[Sequence[float]],
    labels: Sequence[int],
    ignore_flags: Sequence[int],
    size: Tuple[int, int],
    path: str,
    classes: Sequence[str],
) -> Tuple[List[dict], List[Issue]]:
    """Clip boxes to the image and drop those that have no area there.

    Exact duplicates are kept, as the published NEU-DET labels keep them, and
    reported.

    Args:
        boxes (Sequence): Boxes (x1, y1, x2, y2) in pixels.
        labels (Sequence[int]): Class index of each box.
        ignore_flags (Sequence[int]): 1 for boxes to ignore, else 0.
        size (tuple[int, int]): Width and height of the image in pixels.
        path (str): The annotation file, for the findings.
        classes (Sequence[str]): Class names.

    Returns:
        tuple[list[dict], list[Issue]]: Instances with ``bbox``,
        ``bbox_label`` and ``ignore_flag`` as mmdet expects, and findings.
    """
    width, height = size
    right, bottom = float(width), float(height)
    instances: List[dict] = []
    issues: List[Issue] = []
    seen = set()
    for box, label, ignore in zip(boxes, labels, ignore_flags):
        x1, y1, x2, y2 = box
        clipped = [
            min(max(x1, 0.0), right),
            min(max(y1, 0.0), bottom),
            min(max(x2, 0.0), right),
            min(max(y2, 0.0), bottom),
        ]
        what = (
            f'{classes[label]} box '
            f'({", ".join(f"{value:g}" for value in box)}) in {path}'
        )
        if clipped[2] <= clipped[0] or clipped[3] <= clipped[1]:
            issues.append(
                Issue(
                    'empty_box',
                    path,
                    f'{what} has no area in the {width}x{height} image: '
                    'correct or delete it',
                )
            )
            continue
        if max(abs(a - b) for a, b in zip(box, clipped)) > ROUNDING:
            issues.append(
                Issue(
                    'box_clipped',
                    path,
                    f'{what} reaches out of the {width}x{height} image: '
                    'correct it',
                )
            )
        if (label, *box) in seen:
            issues.append(
                Issue(
                    'duplicate_box', path, f'{what} occurs twice: delete one'
                )
            )
        seen.add((label, *box))
        instances.append(
            {'bbox': clipped, 'bbox_label': label, 'ignore_flag': ignore}
        )
    return instances, issues


def class_differs_from_name(
    labels: Sequence[int], path: str, classes: Sequence[str]
) -> List[Issue]:
    """Report boxes of another class than the one that names the file.

    Only files named ``<class>_<number>`` are compared.

    Args:
        labels (Sequence[int]): Class index of each box.
        path (str): The annotation file.
        classes (Sequence[str]): Class names.

    Returns:
        list[Issue]: One for each such box.
    """
    stem = osp.splitext(osp.basename(path))[0]
    named = stem.rpartition('_')[0]
    if named not in classes:
        return []
    return [
        Issue(
            'class_differs_from_name',
            path,
            f'{path} holds a box of class {classes[label]}: look '
            'whether that is meant',
        )
        for label in labels
        if classes[label] != named
    ]
