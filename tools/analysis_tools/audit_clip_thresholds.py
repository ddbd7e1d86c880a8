r"""Do calibrated thresholds keep what they promise? Asked of hidden truth.

    python tools/analysis_tools/audit_clip_thresholds.py CONFIG \
        work_dirs/teacher --clip work_dirs/clip/clip --out thresholds.json

CONFIG is a detector's: thresholds are chosen on the labelled images of its
``train_dataloader``, without synthetic ones, as ``CLIPFilterHook`` does.
``work_dirs/teacher`` is what ``audit_clip.py`` reads: a detector's boxes on
other images, and their truth. Its most confident ones, as many of each class
as there are defects, stand for what a selector leaves; the filter drops boxes
and images of them as by default. For each mode: the precision that was wanted
and promised, that of the boxes before, and what was reached.
"""

import argparse
import sys
from pathlib import Path
from typing import List, Tuple

import numpy as np
import torch
from audit_clip import BATCH, Boxes, most_confident
from audit_record import write_audit
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData

from dsym.clip import PseudoLabelFilter, load_scorer
from dsym.clip.calibration import (
    Calibration,
    calibrate,
    labelled_samples,
)
from dsym.clip.scorer import MODES
from dsym.clip.typical import TypicalImages
from dsym.datasets.real_images import labelled_images
from dsym.errors import InputError


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument('config')
    parser.add_argument(
        'predictions', help='prefix of a *.gt.json and a *.bbox.json'
    )
    parser.add_argument('--clip', required=True, help='a folder or a name')
    parser.add_argument('--pretrained', help='of a name')
    parser.add_argument('--modes', nargs='+', choices=MODES, default=MODES)
    parser.add_argument('--precision', type=float, default=0.8, help='wanted')
    parser.add_argument(
        '--prior', type=float, default=0.6, help='of boxes before, as guessed'
    )
    parser.add_argument('--cache-dir')
    parser.add_argument('--out', type=Path)
    return parser.parse_args()


def filtered(
    judge: PseudoLabelFilter, boxes: Boxes, chosen: np.ndarray
) -> Tuple[np.ndarray, float]:
    """Let a filter judge boxes.

    Args:
        judge (PseudoLabelFilter): The filter.
        boxes (Boxes): All boxes.
        chosen (np.ndarray): ``(N,)``, which of them it is asked for.

    Returns:
        tuple[np.ndarray, float]: Which boxes ``(N,)`` it keeps, and the share
        of images that it refuses.
    """
    samples, labels, start = [], [], 0
    for i, path in enumerate(boxes.paths):
        mine = np.nonzero(chosen[start : start + len(boxes.labels[i])])[0]
        meta = dict(img_path=path, ori_shape=boxes.shapes[i])
        samples.append(DetDataSample(metainfo=meta))
        labels.append(
            InstanceData(
                bboxes=boxes.bboxes[i][mine],
                scores=torch.tensor(boxes.scores[i])[mine],
                labels=torch.from_numpy(boxes.labels[i])[mine],
                rows=torch.from_numpy(start + mine),
            )
        )
        start += len(boxes.labels[i])
    kept = np.zeros(len(chosen), bool)
    refused: List[bool] = []
    for i in range(0, len(samples), BATCH):
        part = slice(i, i + BATCH)
        for left in judge(samples[part], labels[part]):
            kept[left.rows.numpy()] = True
            refused.append(left.refused)
    return kept, float(np.mean(refused))


def compare(
    boxes: Boxes, chosen: np.ndarray, kept: np.ndarray, found: Calibration
) -> dict:
    """What was promised beside what was reached.

    Args:
        boxes (Boxes): All boxes.
        chosen (np.ndarray): ``(N,)``, which the filter was asked for.
        kept (np.ndarray): ``(N,)``, which of these it kept.
        found (Calibration): What calibration promised.

    Returns:
        dict: ``before`` and ``reached``, each with ``precision``, NaN without
        boxes, and ``recall`` of all defects; and ``classes``, each with these
        two, ``tau`` and ``promised``: precision, and recall of the right
        boxes.
    """

    def figures(which: np.ndarray, number: int) -> dict:
        right = boxes.right[which]
        return dict(
            precision=float(right.mean()) if len(right) else float('nan'),
            recall=float(right.sum() / number) if number else float('nan'),
        )

    classes = {}
    for label, name in enumerate(boxes.classes):
        mine, number = boxes.label == label, boxes.truth[label]
        classes[name] = dict(
            tau=found.tau[label],
            promised=dict(
                precision=found.precision[label], recall=found.recall[label]
            ),
            before=figures(chosen & mine, number),
            reached=figures(kept & mine, number),
        )
    return dict(
        before=figures(chosen, boxes.truth.sum()),
        reached=figures(kept, boxes.truth.sum()),
        classes=classes,
    )


def main() -> None:
    """Calibrate and filter in each mode, print a table, write the JSON."""
    args = parse_args()
    config = Config.fromfile(args.config)
    init_default_scope(config.get('default_scope', 'mmdet'))
    dataset = labelled_images(config)
    boxes = Boxes(args.predictions)
    classes = dataset.metainfo['classes']
    if list(classes) != boxes.classes:
        raise InputError(
            f'{args.predictions}.gt.json has the classes '
            f'{", ".join(boxes.classes)}, but the data set of {args.config} '
            f'{", ".join(classes)}: give those of one data set'
        )
    labelled = labelled_samples(dataset)
    chosen = most_confident(boxes)
    results = {}
    for mode in args.modes:
        scorer = load_scorer(
            args.clip,
            classes,
            mode,
            args.pretrained,
            cache_dir=args.cache_dir,
        )
        found = calibrate(scorer, labelled, args.precision, args.prior)
        judge = PseudoLabelFilter(
            scorer,
            torch.tensor(found.tau),
            found.image_tau,
            typical=TypicalImages.of(scorer, labelled),
            typical_tau=found.typical_tau,
        )
        kept, refused = filtered(judge, boxes, chosen)
        row = compare(boxes, chosen, kept, found)
        results[mode] = dict(row, images_refused=refused)
        before, reached = row['before'], row['reached']
        print(
            f'{mode}: precision {before["precision"]:.1%} before, '
            f'{args.precision:.0%} wanted, {reached["precision"]:.1%} reached;'
            f' recall {before["recall"]:.1%} before, {reached["recall"]:.1%} '
            f'after; {refused:.1%} of the images refused'
        )
    if args.out:
        content = dict(
            config=Path(args.config).name,
            predictions=Path(args.predictions).name,
            boxes=int(chosen.sum()),
            truth=int(boxes.truth.sum()),
            wanted=args.precision,
            prior=args.prior,
            modes=results,
        )
        write_audit(args.out, args.clip, scorer.clip, content)


if __name__ == '__main__':
    try:
        main()
    except (InputError, FileNotFoundError) as error:
        sys.exit(f'error: {error}')
