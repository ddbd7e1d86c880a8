r"""Detect defects in images, a folder, a video or a folder that is watched.

    python tools/predict.py INPUT [INPUT ...] --out-dir out
    python tools/predict.py camera/ --watch 2 --out-dir out
    python tools/predict.py INPUT --model CONFIG CHECKPOINT

The detector is the one of the package, for steel, or that of --model.
INPUT is one image or several, or one folder with its subfolders, or one video.
OUT_DIR gets predictions.csv (image, class, score, x1, y1, x2, y2 in pixels of
the original), predictions.json (COCO, with images and scores) and the drawings
in drawn/, or a video. Results are written as they come.

--watch looks into a folder every so many seconds, takes each image once, when
its file has stopped growing, and ends on Ctrl-C. Called again with the same
OUT_DIR it goes on where it ended.

Images that cannot be decoded are skipped with a warning and counted, as are
the frames that a video lacks at its end; the exit status is then 1. It is 2
for a mistake in the input, 130 after Ctrl-C without --watch.
"""

import argparse
import sys
from contextlib import closing
from pathlib import Path
from typing import Any, Dict, List, Optional

from toolbox_script import one_line_errors

import dsym  # noqa: F401  registers its classes, makes mmyolo fit
from dsym.errors import InputError
from dsym.inference.model import ModelFiles, resolve_model
from dsym.inference.predictor import Predictor, build_predictor
from dsym.inference.sources import (
    DRAWN,
    Video,
    check_apart,
    check_writable,
    open_source,
)
from dsym.inference.stream import Counts, run
from dsym.inference.watching import (
    JOURNAL,
    Journal,
    StopRequest,
    WatchedFolder,
    check_watch,
)
from dsym.inference.writers import (
    CocoWriter,
    CsvWriter,
    DrawingWriter,
    VideoWriter,
    Writer,
)
from dsym.weights import DEFAULT_DETECTOR

FORMATS = ('coco', 'csv')


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument('input', nargs='+')
    parser.add_argument(
        '--model',
        nargs='+',
        default=[DEFAULT_DETECTOR],
        metavar=('CONFIG', 'CHECKPOINT'),
        help='files, or dsym://NAME (default: %(default)s)',
    )
    parser.add_argument('--out-dir', type=Path, default=Path('predictions'))
    parser.add_argument('--score-thr', type=float, default=0.25)
    parser.add_argument('--batch-size', type=int, default=8)
    parser.add_argument(
        '--format', nargs='+', choices=FORMATS, default=list(FORMATS)
    )
    parser.add_argument('--no-images', action='store_true', help='no drawings')
    parser.add_argument('--watch', type=float, metavar='SECONDS')
    parser.add_argument(
        '--onnx', help='of tools/export_onnx.py, in place of PyTorch'
    )
    args = parser.parse_args()
    if args.batch_size < 1:
        parser.error(f'--batch-size {args.batch_size}: give 1 or more')
    if not 0 <= args.score_thr <= 1:
        parser.error(f'--score-thr {args.score_thr}: give 0 to 1')
    if args.out_dir.exists() and not args.out_dir.is_dir():
        parser.error(f'--out-dir {args.out_dir} is a file: give a folder')
    if len(args.model) > 2:
        parser.error(f'--model: {args.model[2]} is neither of its two files')
    return args


def open_writers(
    args: argparse.Namespace,
    source: Any,
    classes: List[str],
    info: Dict[str, Any],
    position: Optional[Dict[str, Any]] = None,
) -> List[Writer]:
    """Open what the command line asks for.

    Args:
        args (Namespace): The command line.
        source (Any): Where images come from.
        classes (list[str]): Names in label order.
        info (dict): Of the COCO file.
        position (dict, optional): Where an earlier run's files end.

    Returns:
        list[Writer]: The writers.
    """
    video = isinstance(source, Video)
    writers: List[Writer] = []
    if 'csv' in args.format:
        file = args.out_dir / 'predictions.csv'
        writers.append(CsvWriter(file, classes, video, position))
    if 'coco' in args.format:
        file = args.out_dir / 'predictions.json'
        kept = args.watch is not None
        writers.append(CocoWriter(file, classes, info, position, kept))
    if not args.no_images and video:
        file = args.out_dir / f'{source.path.stem}_drawn.mp4'
        writers.append(VideoWriter(file, classes, source.fps))
    elif not args.no_images:
        writers.append(DrawingWriter(args.out_dir / DRAWN, classes))
    return writers


def watch(
    args: argparse.Namespace, predictor: Predictor, info: Dict[str, Any]
) -> Counts:
    """Predict what comes into a folder until Ctrl-C."""
    if len(args.input) > 1:
        raise InputError(f'{args.input[1]}: --watch takes one folder')
    asked = dict(info, score_thr=args.score_thr, format=sorted(args.format))
    folder = Path(args.input[0])
    check_watch(folder, args.watch)  # before the journal names it
    check_apart(folder, args.out_dir)
    check_writable(args.out_dir)
    asked['image_root'] = info['image_root'] = str(folder.absolute())
    with (
        StopRequest() as asked_to_stop,
        closing(Journal(args.out_dir / JOURNAL, asked)) as journal,
    ):
        source = WatchedFolder(
            folder, args.watch, args.out_dir, journal, asked_to_stop
        )
        writers = open_writers(
            args, source, predictor.classes, info, journal.positions
        )
        counts = run(
            predictor,
            source,
            writers,
            args.batch_size,
            stop=asked_to_stop,
            done=journal.add,
        )
        counts.interrupted = False
        for name in source.waiting:
            print(f'{name!r} is still being written: not processed')
        counts.unreadable = len(journal.unreadable)
    return counts


def predict(
    args: argparse.Namespace, predictor: Predictor, info: Dict[str, Any]
) -> Counts:
    """Predict what is there."""
    if (args.out_dir / JOURNAL).exists():
        raise InputError(
            f'{args.out_dir} holds the results of a watched folder: give '
            'another --out-dir'
        )
    source = open_source(args.input, args.out_dir)
    check_writable(args.out_dir)
    info['image_root'] = str(source.root)
    drawn = args.out_dir / DRAWN
    earlier = sum(x.is_file() for x in drawn.rglob('*'))
    if earlier and not args.no_images:
        print(
            f'{drawn} holds {earlier} drawings of an earlier call: those of '
            'other images stay'
        )
    with StopRequest() as asked_to_stop:
        counts = run(
            predictor,
            source,
            open_writers(args, source, predictor.classes, info),
            args.batch_size,
            len(source),
            asked_to_stop,
        )
    counts.unreadable += source.missing
    if source.others:
        print(f'{source.others} files that are no images were left alone')
    return counts


def main() -> int:
    """Predict, and say what was found and where it is."""
    args = parse_args()
    with one_line_errors():
        files: ModelFiles = resolve_model(*args.model)
        predictor = build_predictor(files, args.score_thr, args.onnx)
        info = {key: str(path) for key, path in files._asdict().items()}
        way = predict if args.watch is None else watch
        counts = way(args, predictor, info)
    print(
        f'{args.out_dir}: {counts.boxes} detections in {counts.images} images'
    )
    if counts.unreadable:
        print(f'{counts.unreadable} images could not be used', file=sys.stderr)
    if counts.interrupted:
        return 130
    return 1 if counts.unreadable else 0


if __name__ == '__main__':
    sys.exit(main())
