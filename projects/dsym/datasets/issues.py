"""What can be wrong with a data set, and what is done about it.

Readers collect :class:`Issue` objects instead of raising one by one, so that
training can stop with one clear line while the checker reports everything.
"""

import logging
from collections import defaultdict
from dataclasses import dataclass
from typing import Dict, List, NamedTuple, Sequence

from mmengine.logging import print_log

from ..errors import InputError

MAX_NAMES = 20  # of files, spelled out in one warning; all are counted


class DatasetError(InputError):
    """A data set that cannot be used; one line with file and remedy."""


class IssueKind(NamedTuple):
    """How one kind of issue is treated.

    Attributes:
        severity (str): ``'error'``, ``'warning'`` or ``'note'``; errors give
            the checker exit status 1.
        on_load (str): What a data set does with it: ``'raise'`` stops,
            ``'warn'`` says once how many and what was changed, ``'keep'``
            takes the data as they are and leaves it to the checker.
        title (str): What it is, in the plural.
    """

    severity: str
    on_load: str
    title: str


ISSUE_KINDS: Dict[str, IssueKind] = {
    'unreadable': IssueKind('error', 'raise', 'unusable data sets'),
    'missing_image': IssueKind('error', 'raise', 'missing images'),
    'missing_annotation': IssueKind(
        'error', 'raise', 'images without annotation'
    ),
    'malformed_annotation': IssueKind(
        'error', 'raise', 'malformed annotations'
    ),
    'unknown_class': IssueKind('error', 'raise', 'unknown classes'),
    'ambiguous_name': IssueKind('error', 'raise', 'ambiguous file names'),
    'corrupt_image': IssueKind(
        'error', 'warn', 'corrupt or truncated images (skipped)'
    ),
    'size_mismatch': IssueKind(
        'error',
        'warn',
        'annotations with another size than the image (its own size is used)',
    ),
    'empty_box': IssueKind(
        'error', 'warn', 'boxes without area in the image (dropped)'
    ),
    'box_clipped': IssueKind(
        'warning', 'warn', 'boxes that reach out of the image (clipped)'
    ),
    'box_left_out': IssueKind(
        'warning',
        'warn',
        'boxes that mmdet leaves out (under 1 pixel, area 0 or ignore=1)',
    ),
    'listed_twice': IssueKind(
        'warning', 'warn', 'images listed twice (used once)'
    ),
    'duplicate_box': IssueKind('warning', 'keep', 'exact duplicate boxes'),
    'same_picture': IssueKind('warning', 'keep', 'images that show the same'),
    'class_differs_from_name': IssueKind(
        'warning', 'keep', 'boxes of another class than the file name'
    ),
    'difficult_box': IssueKind('note', 'keep', 'boxes marked difficult'),
    'file_name_differs': IssueKind(
        'note', 'keep', 'annotations whose <filename> is not the image'
    ),
    'repeated_file': IssueKind(
        'note', 'keep', 'identical copies of a file (the first is used)'
    ),
}


@dataclass(frozen=True)
class Issue:
    """One finding.

    Args:
        kind (str): A key of :data:`ISSUE_KINDS`.
        path (str): The file it is about.
        message (str): One line that names the file and the remedy.
    """

    kind: str
    path: str
    message: str

    @property
    def severity(self) -> str:
        return ISSUE_KINDS[self.kind].severity


def malformed(path: str, what: str) -> Issue:
    """An annotation file that cannot be read as it should.

    Args:
        path (str): The file.
        what (str): What is wrong, to follow the path in a sentence.

    Returns:
        Issue: Of the kind ``malformed_annotation``.
    """
    return Issue(
        'malformed_annotation',
        path,
        f'{path} {what}: correct or export it again',
    )


def handle_issues(issues: Sequence[Issue], source: str) -> None:
    """Stop at errors; warn once for each kind that changed the data.

    Args:
        issues (Sequence[Issue]): What a data set found while loading.
        source (str): What was loaded, to begin a warning with.

    Raises:
        DatasetError: With the message of the first issue that stops.
    """
    fatal = [i for i in issues if ISSUE_KINDS[i.kind].on_load == 'raise']
    if fatal:
        more = len(fatal) - 1
        rest = (
            f' ({more} more like this: tools/dataset_converters/'
            'check_dataset.py lists all)'
            if more
            else ''
        )
        raise DatasetError(fatal[0].message + rest)
    by_kind: Dict[str, List[Issue]] = defaultdict(list)
    for issue in issues:
        if ISSUE_KINDS[issue.kind].on_load == 'warn':
            by_kind[issue.kind].append(issue)
    for kind, found in by_kind.items():
        paths = list(dict.fromkeys(issue.path for issue in found))
        names = ', '.join(paths[:MAX_NAMES])
        if len(paths) > MAX_NAMES:
            names += f' and {len(paths) - MAX_NAMES} more files'
        print_log(
            f'{source}: {len(found)} {ISSUE_KINDS[kind].title}: {names}',
            logger='current',
            level=logging.WARNING,
        )
