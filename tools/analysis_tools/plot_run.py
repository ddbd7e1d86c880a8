"""Draw the figures of one or more runs and print where they are.

For each work_dir: training curves from mmengine's log; precision and recall
curves from every ``*.curves.json`` of ``DefectMetric`` in it; the quality of
pseudo-labels from the ``pseudo_labels.json`` of ``PseudoLabelAuditHook``;
and, where its predictions were saved (``*.gt.json`` and ``*.bbox.json``) or
are named with ``--predictions``, a gallery of truth and detections.

    python tools/analysis_tools/plot_run.py work_dirs/my_run
"""

import argparse
import sys
from pathlib import Path
from typing import List, Optional

from dsym.visualization import (
    confidence_figure,
    gallery_figure,
    load_json,
    plot_pseudo_labels,
    pr_figure,
    read_scalars,
    save_figure,
    training_figure,
)

CURVES, PREDICTIONS, TRUTH = '.curves.json', '.bbox.json', '.gt.json'
PSEUDO_LABELS = 'pseudo_labels.json'
# Shown where no evaluation has chosen a threshold.
DEFAULT_SCORE_THR = 0.3


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument('work_dirs', nargs='+', metavar='WORK_DIR', type=Path)
    parser.add_argument(
        '--predictions',
        type=Path,
        help='a *.bbox.json outside the work_dir; its *.gt.json lies beside',
    )
    parser.add_argument('--img-root', help='folder of the images, if moved')
    parser.add_argument(
        '--score-thr',
        type=float,
        help='lowest score in the gallery; default: the best threshold of '
        'the evaluation',
    )
    parser.add_argument('--num-images', type=int, default=12)
    parser.add_argument(
        '--out-dir',
        type=Path,
        help='default: WORK_DIR/figures; with several runs a folder each',
    )
    return parser.parse_args()


def sibling(path: Path, old: str, new: str) -> Path:
    """Name the file that belongs to the same evaluation."""
    if not path.name.endswith(old):
        raise ValueError(f'{path}: a file named *{old} is needed here')
    return path.with_name(path.name[: -len(old)] + new)


def plot_gallery(
    predictions: Path, args: argparse.Namespace, out_file: Path
) -> Path:
    """Draw the gallery of one evaluation."""
    truth = sibling(predictions, PREDICTIONS, TRUTH)
    for path in (predictions, truth):
        if not path.is_file():
            raise FileNotFoundError(
                f'{path} is missing; evaluate with DefectMetric('
                'save_predictions=True)'
            )
    score_thr = args.score_thr
    if score_thr is None:
        curves = sibling(predictions, PREDICTIONS, CURVES)
        score_thr = DEFAULT_SCORE_THR
        if curves.is_file():
            score_thr = load_json(curves)['yolo']['best_thr']
    figure = gallery_figure(
        load_json(truth),
        load_json(predictions),
        score_thr,
        num_images=args.num_images,
        img_root=args.img_root,
    )
    return save_figure(figure, out_file)


def plot_run(
    work_dir: Path, args: argparse.Namespace, out_dir: Path
) -> List[Path]:
    """Draw every figure that the files of one run allow."""
    if not work_dir.is_dir():
        raise FileNotFoundError(f'{work_dir} is no folder; name a work_dir')
    paths = []
    has_log = any(work_dir.glob('*/vis_data/scalars.json'))
    curve_files = sorted(work_dir.rglob(f'*{CURVES}'))
    prediction_files = [args.predictions] if args.predictions else []
    prediction_files += sorted(work_dir.rglob(f'*{PREDICTIONS}'))
    pseudo_file, pseudo_labels = work_dir / PSEUDO_LABELS, []
    if pseudo_file.is_file():
        pseudo_labels = load_json(pseudo_file)
    if has_log or not (curve_files or prediction_files or pseudo_labels):
        figure = training_figure(read_scalars(work_dir))
        paths.append(save_figure(figure, out_dir / 'training.png'))
    if pseudo_labels:
        stage = next(iter(pseudo_labels[-1]['stages'].values()))
        path = out_dir / 'pseudo_labels.png'
        paths.append(
            plot_pseudo_labels(pseudo_labels, path, list(stage['classes']))
        )
    for file in curve_files:
        curves, name = load_json(file), figure_name(file, CURVES, work_dir)
        for kind, draw in (
            ('pr', pr_figure),
            ('confidence', confidence_figure),
        ):
            path = out_dir / f'{name}_{kind}.png'
            paths.append(save_figure(draw(curves), path))
    for file in prediction_files:
        name = figure_name(file, PREDICTIONS, work_dir)
        paths.append(plot_gallery(file, args, out_dir / f'{name}_gallery.png'))
    return paths


def figure_name(file: Path, suffix: str, work_dir: Path) -> str:
    """Name a file's figures so that those of several tests stay apart.

    Returns:
        str: Its name, after those of the folders in ``work_dir`` it is in.
    """
    place = file.parent
    folders = ()
    if work_dir in place.parents:
        folders = place.relative_to(work_dir).parts
    return '_'.join([*folders, file.name[: -len(suffix)]])


def main() -> Optional[str]:
    """Draw all runs.

    Returns:
        str, optional: What is wrong, in one line, or None.
    """
    args = parse_args()
    for work_dir in args.work_dirs:
        out_dir = work_dir / 'figures'
        if args.out_dir:
            out_dir = args.out_dir
            if len(args.work_dirs) > 1:
                out_dir = out_dir / work_dir.resolve().name
        try:
            for path in plot_run(work_dir, args, out_dir):
                print(path)
        except (OSError, ValueError, KeyError) as error:
            return f'plot_run: {error}'
    return None


if __name__ == '__main__':
    sys.exit(main())
