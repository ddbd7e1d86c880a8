r"""Turn a detector's detections into labels of a data set.

    python tools/test.py CONFIG CHECKPOINT --cfg-options \
        test_dataloader.dataset.split=unlabeled_80 \
        model.test_cfg.multi_label=False model.test_cfg.score_thr=0.05 \
        test_evaluator.save_predictions=True \
        test_evaluator.outfile_prefix=work_dirs/teacher
    python tools/dataset_converters/detections_to_coco.py work_dirs/teacher \
        --labeled CONFIG --out data/pseudo.json [--clip work_dirs/clip/clip]

Reads ``work_dirs/teacher.gt.json``, for its images and classes alone, and
``work_dirs/teacher.bbox.json``. Of each class the best detections are kept,
``--share`` of as many as real labelled images have (LabelMatch,
arXiv:2206.06608); with ``--clip`` the best by ``sqrt(score CLIP's)``. The
others are written with ``iscrowd=1``: heads of dsym take their places for
neither defect nor background.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Dict, List, Sequence

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope

from dsym.clip import load_scorer
from dsym.datasets.detected_boxes import read_json
from dsym.datasets.real_images import labelled_images
from dsym.engine.mean_teacher_loop import boxes_per_image
from dsym.errors import InputError

BATCH = 32  # images


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument('detections', help='prefix of the two files')
    parser.add_argument(
        '--labeled', required=True, help='config, for its labelled images'
    )
    parser.add_argument('--share', type=float, default=0.75)
    parser.add_argument('--clip', help='a folder of an adapted CLIP')
    parser.add_argument('--out', type=Path, required=True)
    return parser.parse_args()


def choose(
    rows: Sequence[dict],
    ranks: np.ndarray,
    expected: Sequence[float],
) -> List[bool]:
    """Which detections are kept.

    Args:
        rows (Sequence[dict]): COCO results.
        ranks (np.ndarray): ``(N,)``, higher is better.
        expected (Sequence[float]): How many of each class.

    Returns:
        list[bool]: One a detection.
    """
    kept = np.zeros(len(rows), dtype=bool)
    labels = np.array([x['category_id'] for x in rows], dtype=int)
    for label, number in enumerate(expected):
        mine = np.nonzero(labels == label)[0]
        best = mine[np.argsort(-ranks[mine], kind='stable')]
        kept[best[: round(number)]] = True
    return kept.tolist()


def clip_scores(
    folder: str, rows: Sequence[dict], images: Sequence[dict], classes: tuple
) -> np.ndarray:
    """CLIP's score ``(N,)`` of each detection's class."""
    scorer = load_scorer(folder, classes)
    by_image: Dict[int, List[int]] = {x['id']: [] for x in images}
    for i, row in enumerate(rows):
        by_image[row['image_id']].append(i)
    scores = np.zeros(len(rows))
    for start in range(0, len(images), BATCH):
        part = images[start : start + BATCH]
        indices = [by_image[x['id']] for x in part]
        boxes = [
            torch.tensor([corners(rows[i]) for i in x]).reshape(-1, 4)
            for x in indices
        ]
        found = scorer.region_scores(
            [x['file_name'] for x in part],
            boxes,
            [(x['height'], x['width']) for x in part],
        )
        for places, grades in zip(indices, found):
            for i, grade in zip(places, grades.tolist()):
                scores[i] = grade[rows[i]['category_id']]
    return scores


def corners(row: dict) -> List[float]:
    """A COCO result's box as corners."""
    x, y, width, height = row['bbox']
    return [x, y, x + width, y + height]


def main() -> int:
    """Write the data set and say what is in it."""
    args = parse_args()
    images = read_json(f'{args.detections}.gt.json')
    rows = read_json(f'{args.detections}.bbox.json')
    config = Config.fromfile(args.labeled)
    init_default_scope(config.get('default_scope', 'mmdet'))
    labeled = labelled_images(config)
    classes = tuple(labeled.metainfo['classes'])
    if classes != tuple(x['name'] for x in images['categories']):
        raise InputError(
            f'{args.detections}.gt.json and {args.labeled} have different '
            'classes: give the config that the detector was trained by'
        )
    ranks = np.array([x['score'] for x in rows])
    if args.clip:
        ranks = ranks * clip_scores(args.clip, rows, images['images'], classes)
    number = args.share * len(images['images'])
    expected = [number * x for x in boxes_per_image(labeled)]
    kept = choose(rows, ranks, expected)
    annotations = [
        dict(
            id=i + 1,
            image_id=row['image_id'],
            category_id=row['category_id'] + 1,
            bbox=row['bbox'],
            area=row['bbox'][2] * row['bbox'][3],
            iscrowd=int(not keep),
            score=row['score'],
        )
        for i, (row, keep) in enumerate(zip(rows, kept))
    ]
    content = dict(
        images=images['images'],
        annotations=annotations,
        categories=[
            dict(id=i + 1, name=name) for i, name in enumerate(classes)
        ],
    )
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(content) + '\n')
    print(
        f'{args.out}: {len(images["images"])} images, {sum(kept)} boxes, '
        f'{len(kept) - sum(kept)} doubtful ones'
    )
    return 0


if __name__ == '__main__':
    try:
        sys.exit(main())
    except InputError as error:
        sys.exit(f'error: {error}')
