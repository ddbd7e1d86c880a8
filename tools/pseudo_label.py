r"""Label a folder by a detector, and read back what people corrected.

    python tools/pseudo_label.py CONFIG CHECKPOINT FOLDER --out-dir labels
    python tools/pseudo_label.py dsym://NAME FOLDER --out-dir labels
    python tools/pseudo_label.py --read labels --out corrected.json

The first two, of which one takes a detector of the package, write
labels/coco.json and labels/voc/*.xml for an annotation tool, with the score of
each box and the mark ``pseudo``, and labels/summary.json.
Which boxes are kept says --selector, as the selectors of semi-supervised
training:

    --selector type=ScoreThreshold score_thr=0.5    (the default)
    --selector type=ClassThresholds     as many of a class as labelled images
    --selector type=MixtureThreshold    where scores of a class fall in two

With --clip an adapted CLIP judges them, with thresholds from labelled images.
These and those of ClassThresholds are what CONFIG trains on; --labeled names
another config, which an exported detector needs. Called again with the same
OUT_DIR it replaces what it wrote, but no corrections without --overwrite.

The third reads labels/coco.json or labels/voc, whichever was corrected,
reports all faults, prints every box that was added, removed, moved or
relabelled, and writes a COCO file for VerifiedCocoDataset. labels/written.json
holds what was written and must stay as it is. The exit status is 1 if
something is wrong with an image or a label.
"""

import argparse
import json
import sys
from io import TextIOWrapper
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Dict, List

from mmengine.config import Config, DictAction
from toolbox_script import one_line_errors

import dsym  # noqa: F401  registers its classes, makes mmyolo fit
from dsym.datasets.dataset_report import format_report, issue_report
from dsym.errors import InputError
from dsym.inference.corrections import (
    COCO,
    SCANS,
    VOC,
    WRITTEN,
    Review,
    describe_changes,
    find_format,
    on_load,
    read_corrected,
    read_written,
    review_to_coco,
)
from dsym.inference.earlier_labels import (
    SUMMARY,
    check_unchanged,
    remove_labels,
)
from dsym.inference.model import read_config, resolve_model
from dsym.inference.predictor import build_predictor
from dsym.inference.pseudo_labels import (
    Selection,
    Spool,
    build_clip_filter,
    build_selector,
    labeled_images,
    marks,
    needs_labeled,
)
from dsym.inference.sources import ImageFolder, check_writable
from dsym.inference.stream import Counts, run
from dsym.inference.voc_writer import VocWriter
from dsym.inference.watching import StopRequest
from dsym.inference.writers import CocoWriter
from dsym.models.detectors.pseudo_labels import PSEUDO_CFG
from dsym.weights import PREFIX

FORMATS = tuple(SCANS)
SELECTOR = dict(type='ScoreThreshold', score_thr=0.5)


class KeyValues(DictAction):
    """``KEY=VALUE`` pairs, refused in one line if they are none."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: Any = None,
    ) -> None:
        """Read the pairs of an option."""
        for word in values:
            if '=' not in word:
                parser.error(f'{option_string} {word}: give KEY=VALUE')
        super().__call__(parser, namespace, values, option_string)


def parse_args() -> argparse.Namespace:
    """Read the command line of either way."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        'config', nargs='?', help='file, or dsym://NAME without a checkpoint'
    )
    parser.add_argument('checkpoint', nargs='?')
    parser.add_argument('folder', nargs='?', type=Path, help='of images')
    writing = parser.add_argument_group('to write')
    writing.add_argument('--out-dir', type=Path)
    writing.add_argument('--formats', nargs='+', choices=FORMATS)
    writing.add_argument(
        '--selector', nargs='+', action=KeyValues, metavar='KEY=VALUE'
    )
    writing.add_argument('--clip', metavar='FOLDER')
    writing.add_argument(
        '--labeled',
        metavar='CONFIG',
        help='of a training on the labelled images',
    )
    writing.add_argument('--batch-size', type=int)
    writing.add_argument(
        '--overwrite', action='store_true', help='also what was corrected'
    )
    reading = parser.add_argument_group('to read')
    reading.add_argument('--read', type=Path, metavar='DIR')
    reading.add_argument('--out', type=Path, metavar='FILE')
    reading.add_argument('--format', choices=FORMATS, help='if both changed')
    reading.add_argument(
        '--images', default='', help='folder of the images, if they moved'
    )
    args = parser.parse_args()
    packaged = (args.config or '').startswith(PREFIX)
    if packaged and args.folder is None:  # one name for both files
        args.folder = args.checkpoint and Path(args.checkpoint)
        args.checkpoint = None
    names = 'config', 'checkpoint', 'folder', 'out_dir'
    more = 'formats', 'selector', 'clip', 'labeled', 'batch_size', 'overwrite'
    if args.read is None:
        needed = tuple(x for x in names if x != 'checkpoint' or not packaged)
        foreign = ('out', 'format', 'images')
    else:
        needed, foreign = ('out',), (*names, *more)
    way = 'to write' if args.read is None else 'with --read'
    for name in needed:
        if not getattr(args, name):
            parser.error(f'{way} labels, {name} is needed')
    for name in foreign:
        if getattr(args, name):
            parser.error(f'{name} has no meaning {way} labels')
    if args.out_dir and args.out_dir.exists() and not args.out_dir.is_dir():
        parser.error(f'--out-dir {args.out_dir} is a file: give a folder')
    if args.batch_size is not None and args.batch_size < 1:
        parser.error(f'--batch-size {args.batch_size}: give 1 or more')
    return args


def write(args: argparse.Namespace) -> int:
    """Detect, select, write; exit status 1 if images could not be read."""
    if not args.overwrite:
        check_unchanged(args.out_dir)
    files = resolve_model(args.config, args.checkpoint)
    config = read_config(files)
    predictor = build_predictor(
        files, PSEUDO_CFG['score_thr'], test_cfg=PSEUDO_CFG
    )
    settings = args.selector or SELECTOR
    least = PSEUDO_CFG['score_thr']
    for key in ('score_thr', 'low', 'lowest'):
        value = settings.get(key, 1)
        if not isinstance(value, (int, float)):
            raise InputError(
                f'--selector {key}={value}: give one number with a decimal '
                'point, such as 0.5'
            )
        if value < least:
            raise InputError(
                f'--selector {key}={value}: boxes of less than '
                f'{least} are not looked at: give {least} or more'
            )
    why, labeled = needs_labeled(settings, args.clip), None
    if args.labeled:
        config = Config.fromfile(args.labeled)
    if why:
        labeled = labeled_images(config, why, predictor.classes)
    classes = predictor.classes
    judge = (
        build_clip_filter(args.clip, labeled, classes) if args.clip else None
    )
    source = ImageFolder(args.folder, args.out_dir.resolve())
    with TemporaryDirectory() as temporary:
        spool = Spool(Path(temporary) / 'detections.jsonl')
        # a wrong setting is told before the images are looked at
        build_selector(settings, spool, labeled, len(classes))
        check_writable(args.out_dir)
        size = args.batch_size or 8
        with StopRequest() as asked:
            counts = run(predictor, source, [spool], size, len(source), asked)
        if counts.interrupted:
            return 130
        if judge is not None:
            spool.ask(judge)
        selector = build_selector(settings, spool, labeled, len(classes))
        selection = Selection(spool, selector, classes, judge)
        remove_labels(args.out_dir)
        try:
            summary = write_labels(args, selection, counts, source, files)
        except BaseException:
            remove_labels(args.out_dir)  # half of them
            raise
    print(json.dumps(summary, indent=2))
    print(args.out_dir)
    return 1 if counts.unreadable else 0


def write_labels(
    args: argparse.Namespace,
    selection: Selection,
    counts: Counts,
    source: ImageFolder,
    files: Any,
) -> Dict[str, Any]:
    """Write the formats, the copy to compare with, and the summary."""
    info: Dict[str, Any] = {k: str(v) for k, v in files._asdict().items()}
    info['image_root'] = str(source.root)
    info['selector'] = dict(args.selector or SELECTOR)
    info['clip'] = args.clip
    classes, formats = selection.classes, args.formats or FORMATS
    writers: List[Any] = [CocoWriter(args.out_dir / WRITTEN, classes, info)]
    if 'coco' in formats:
        writers.append(CocoWriter(args.out_dir / COCO, classes, info))
    if 'voc' in formats:
        writers.append(VocWriter(args.out_dir / VOC, classes))
    for frame, boxes in selection:
        for writer in writers:
            writer.write(frame, boxes, marks(boxes))
    for writer in writers:
        writer.close()
    summary = selection.summary()
    summary['images']['unreadable'] = counts.unreadable
    summary['info'] = info
    (args.out_dir / SUMMARY).write_text(json.dumps(summary, indent=2) + '\n')
    return summary


def read(args: argparse.Namespace) -> int:
    """Read, compare, write; exit status 1 if there are faults."""
    form = args.format or find_format(args.read, args.images)
    written = read_written(args.read)
    classes = tuple(x['name'] for x in written['categories'])
    review: Review = read_corrected(args.read, form, args.images)
    for line in describe_changes(review, classes):
        print(line)
    counts = review.counts()
    print(
        ', '.join(
            f'{counts[kind]} {kind}'
            for kind in ('kept', 'moved', 'relabelled', 'added', 'removed')
        )
        + f', {len(review.left_out)} images left out'
    )
    source = f'{args.read} ({form})'
    report = issue_report(source, classes, review.infos, review.issues)
    print(format_report(report))
    if any(on_load(x) == 'raise' for x in review.issues):
        print(f'{args.out} is not written', file=sys.stderr)
        return 1
    args.out.parent.mkdir(parents=True, exist_ok=True)
    root = args.images or written['info']['image_root']
    content = review_to_coco(review, root, classes)
    args.out.write_text(json.dumps(content) + '\n')
    print(
        f"{args.out}: dict(type='VerifiedCocoDataset', "
        f'ann_file={str(args.out)!r}, data_prefix=dict(img={root!r}), '
        f'metainfo=dict(classes={classes}))'
    )
    return 1 if report['num_errors'] else 0


def main() -> int:
    """Write labels, or read them back."""
    args = parse_args()
    # names of files may be no text of this terminal
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors='backslashreplace')
    with one_line_errors():
        return write(args) if args.read is None else read(args)


if __name__ == '__main__':
    sys.exit(main())
