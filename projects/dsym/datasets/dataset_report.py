"""Report everything that is wrong or unusual in a data set."""

import os.path as osp
from collections import Counter, defaultdict
from typing import Dict, List, Sequence

from .image_checks import check_images
from .issues import ISSUE_KINDS, DatasetError, Issue

SEVERITIES = ('error', 'warning', 'note')
MAX_MESSAGES = 10  # of each kind


def find_same_pictures(data_list: List[dict]) -> List[Issue]:
    """Find images with exactly the same pixels, whatever their file format.

    Args:
        data_list (list[dict]): Data infos with ``img_path``.

    Returns:
        list[Issue]: One for each image that repeats an earlier one.
    """
    checks = check_images(info['img_path'] for info in data_list)
    groups: Dict[str, List[str]] = defaultdict(list)
    for path, check in checks.items():
        groups[check.digest].append(path)
    return [
        Issue(
            'same_picture',
            path,
            f'{path} shows the same picture as {first}: keep both in the '
            'same split or delete one',
        )
        for first, *others in groups.values()
        for path in others
    ]


def check_dataset(dataset) -> dict:
    """Check a data set of the package, built with ``lazy_init=True``.

    Args:
        dataset (DefectDataset or VerifiedCocoDataset): Anything with
            ``scan()``, ``classes`` and ``source``.

    Returns:
        dict: As :func:`issue_report`.
    """
    data_list: List[dict] = []
    classes: Sequence[str] = ()
    source = dataset.data_root
    try:
        classes = dataset.classes
        source = dataset.source
        data_list, issues = dataset.scan()
        issues += find_same_pictures(data_list)
    except DatasetError as error:
        issues = [Issue('unreadable', source, str(error))]
    return issue_report(source, classes, data_list, issues)


def issue_report(
    source: str,
    classes: Sequence[str],
    data_list: Sequence[dict],
    issues: Sequence[Issue],
) -> dict:
    """Sum up what a scan found.

    Args:
        source (str): What was read.
        classes (Sequence[str]): Names in label order.
        data_list (Sequence[dict]): Data infos of the readable images.
        issues (Sequence[Issue]): All findings.

    Returns:
        dict: ``source``, ``num_images``, ``num_boxes``, ``boxes_per_class``,
        ``counts`` (findings of each kind), ``num_errors`` and ``issues``
        (``kind``, ``severity``, ``path``, ``message``), errors first.
    """
    boxes = Counter(
        classes[instance['bbox_label']]
        for info in data_list
        for instance in info['instances']
    )
    issues = sorted(issues, key=lambda x: SEVERITIES.index(x.severity))
    return {
        'source': source,
        'num_images': len(data_list),
        'num_boxes': sum(boxes.values()),
        'boxes_per_class': dict(sorted(boxes.items())),
        'counts': dict(Counter(issue.kind for issue in issues)),
        'num_errors': sum(issue.severity == 'error' for issue in issues),
        'issues': [
            {
                'kind': issue.kind,
                'severity': issue.severity,
                'path': issue.path,
                'message': issue.message,
            }
            for issue in issues
        ],
    }


def format_report(report: dict) -> str:
    """Write a report for reading.

    Args:
        report (dict): What :func:`check_dataset` gave.

    Returns:
        str: Several lines, without a final line break; of each kind
        :data:`MAX_MESSAGES` are spelled out, all are counted.
    """
    lines = [
        report['source'],
        f'{report["num_images"]} readable images, {report["num_boxes"]} boxes',
    ]
    lines += [
        f'  {name}: {count}'
        for name, count in report['boxes_per_class'].items()
    ]
    for kind, count in report['counts'].items():
        found = [i for i in report['issues'] if i['kind'] == kind]
        files = len({osp.normpath(issue['path']) for issue in found})
        lines.append(
            f'{ISSUE_KINDS[kind].severity.upper()}: {count} '
            f'{ISSUE_KINDS[kind].title} in {files} '
            f'file{"s" if files > 1 else ""}'
        )
        lines += [f'  {issue["message"]}' for issue in found[:MAX_MESSAGES]]
        if count > MAX_MESSAGES:
            lines.append(f'  ... and {count - MAX_MESSAGES} more')
    lines.append(
        f'{report["num_errors"]} errors'
        if report['num_errors']
        else 'no error'
    )
    return '\n'.join(lines)
