r"""Can CLIP tell which pseudo-labels are right? Asked of hidden truth.

    python tools/test.py CONFIG CHECKPOINT --cfg-options \
        test_dataloader.dataset.split=unlabeled_80 \
        model.test_cfg.multi_label=False model.test_cfg.score_thr=0.05 \
        test_evaluator.save_predictions=True \
        test_evaluator.outfile_prefix=work_dirs/teacher
    python tools/analysis_tools/audit_clip.py work_dirs/teacher \
        --clip work_dirs/clip/clip --out audit.json

Rankings are compared: the teacher's confidence; the cosine to the paper's one
prompt; CLIP's score in each mode with the prompts of its folder; and both
together, ``confidence^(1-w) clip^w``. For each: AUROC of right boxes against
wrong ones, mean over classes and of each; and the precision at the recall
that the teacher's most confident boxes have, as many of each class as there
are defects.
"""

import argparse
import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any, Dict, List

import numpy as np
import torch
from audit_record import write_audit

from dsym.clip import Prompts, RegionSettings, load_clip
from dsym.clip.pseudo_label_filter import CONFIDENT
from dsym.clip.scorer import MODES, CLIPScorer
from dsym.errors import InputError, MissingFileError
from dsym.evaluation.detection_curves import box_iou, match_detections
from dsym.evaluation.region_grade_metric import auroc

IOU = np.array([0.5], dtype=np.float32)
BATCH = 32  # images


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        'predictions', help='prefix of a *.gt.json and a *.bbox.json'
    )
    parser.add_argument('--clip', required=True, help='a folder or a name')
    parser.add_argument('--pretrained', help='of a name')
    parser.add_argument('--way', choices=['crops', 'dense'])
    parser.add_argument('--expand', type=float, nargs='+')
    parser.add_argument('--weights', type=float, nargs='+', default=[0.5])
    parser.add_argument('--cache-dir')
    parser.add_argument('--out', type=Path)
    return parser.parse_args()


class Boxes:
    """The teacher's boxes of all images, and which are right.

    Args:
        prefix (str): Of the two files.

    Raises:
        MissingFileError: Without them.
    """

    def __init__(self, prefix: str) -> None:
        truth, found = (read(f'{prefix}.{x}.json') for x in ('gt', 'bbox'))
        self.classes = [x['name'] for x in truth['categories']]
        self.paths = [x['file_name'] for x in truth['images']]
        self.shapes = [(x['height'], x['width']) for x in truth['images']]
        places = {x['id']: i for i, x in enumerate(truth['images'])}
        gt = split_by_image(truth['annotations'], places)
        self.bboxes, self.labels, self.scores, rights = [], [], [], []
        causes = []
        for rows, real in zip(split_by_image(found, places), gt):
            rows.sort(key=lambda x: -x['score'])
            real = [x for x in real if not x['iscrowd']]
            bboxes, labels = corners(rows), classes_of(rows)
            hits = match_detections(
                bboxes, labels, corners(real), classes_of(real), IOU
            )
            self.bboxes.append(torch.from_numpy(bboxes))
            self.labels.append(labels)
            self.scores.append([x['score'] for x in rows])
            rights.append(hits[:, 0])
            ious = box_iou(corners(real), bboxes)
            own = classes_of(real)[:, None] == labels[None]
            causes += [cause(row, mine) for row, mine in zip(ious.T, own.T)]
        self.label = np.concatenate(self.labels)
        self.confidence = np.concatenate(self.scores)
        self.right = np.concatenate(rights)
        self.cause = np.array(causes)
        self.truth = np.bincount(
            [
                x['category_id']
                for x in truth['annotations']
                if not x['iscrowd']
            ],
            minlength=len(self.classes),
        )


def read(path: str) -> Any:
    """Read what tools/test.py saved."""
    if not Path(path).is_file():
        raise MissingFileError(
            f'{path} does not exist: save predictions as --help says'
        )
    return json.loads(Path(path).read_text())


def cause(ious: np.ndarray, own: np.ndarray) -> str:
    """Why a box is wrong, if it is.

    Args:
        ious (np.ndarray): ``(M,)``, with the image's defects.
        own (np.ndarray): ``(M,)``, which of them are of its class.

    Returns:
        str: The cause.
    """
    same = ious[own].max(initial=0)
    if same >= IOU[0]:
        return 'second box of a defect'
    if ious.max(initial=0) >= IOU[0]:
        return 'another class'
    if same >= 0.3:
        return 'IoU of 0.3 to 0.5'
    return 'IoU of 0.1 to 0.3' if same >= 0.1 else 'background'


def most_confident(boxes: Boxes) -> np.ndarray:
    """Which boxes ``(N,)`` are, as many of each class as there are defects."""
    chosen = np.zeros(len(boxes.right), bool)
    for label, number in enumerate(boxes.truth):
        mine = np.nonzero(boxes.label == label)[0]
        order = np.argsort(-boxes.confidence[mine], kind='stable')
        chosen[mine[order[:number]]] = True
    return chosen


def wrong_ones(boxes: Boxes) -> Dict[str, int]:
    """Causes of the wrong ones among the most confident boxes.

    Args:
        boxes (Boxes): The boxes.

    Returns:
        dict[str, int]: Counts, of as many boxes of each class as there are
        defects.
    """
    wrong = most_confident(boxes) & ~boxes.right
    return dict(Counter(boxes.cause[wrong].tolist()).most_common())


def split_by_image(rows: List[dict], places: Dict[int, int]) -> List[list]:
    """Sort annotations or results by the place of their image."""
    parts: List[list] = [[] for _ in places]
    for row in rows:
        parts[places[row['image_id']]].append(row)
    return parts


def corners(rows: List[dict]) -> np.ndarray:
    """Boxes ``(N, 4)`` as corners."""
    boxes = np.array([x['bbox'] for x in rows], np.float32).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    return boxes


def classes_of(rows: List[dict]) -> np.ndarray:
    """Class indices ``(N,)``."""
    return np.array([x['category_id'] for x in rows], int)


def judge(boxes: Boxes, ranking: np.ndarray) -> dict:
    """Figures of a ranking.

    Args:
        boxes (Boxes): The boxes.
        ranking (np.ndarray): ``(N,)``, higher is better.

    Returns:
        dict: ``auroc``, ``precision``, ``recall``, ``classes``; the mean is
        over classes that have right and wrong boxes.
    """
    rows = {}
    right_kept = number_kept = 0
    for label, name in enumerate(boxes.classes):
        mine = boxes.label == label
        right = boxes.right[mine]
        by_confidence = np.argsort(-boxes.confidence[mine], kind='stable')
        goal = right[by_confidence][: boxes.truth[label]].sum()
        order = np.argsort(-ranking[mine], kind='stable')
        hits = np.cumsum(right[order])
        number = int(np.searchsorted(hits, goal)) + 1 if goal else 0
        rows[name] = dict(
            auroc=auroc(ranking[mine], right),
            precision=float(goal / number) if number else None,
            recall=float(goal / boxes.truth[label]),
        )
        right_kept += int(goal)
        number_kept += number
    return dict(
        auroc=float(np.nanmean([x['auroc'] for x in rows.values()])),
        auroc_pooled=auroc(ranking, boxes.right),
        precision=right_kept / number_kept if number_kept else np.nan,
        recall=right_kept / int(boxes.truth.sum()),
        classes=rows,
    )


def clip_scores(scorer: CLIPScorer, boxes: Boxes) -> np.ndarray:
    """CLIP's score ``(N,)`` of every box's class."""
    scores = []
    for i in range(0, len(boxes.paths), BATCH):
        part = slice(i, i + BATCH)
        # as the filter before the selection
        occupied = [
            x[torch.tensor(scores) >= CONFIDENT]
            for x, scores in zip(boxes.bboxes[part], boxes.scores[part])
        ]
        found = scorer.region_scores(
            boxes.paths[part],
            boxes.bboxes[part],
            boxes.shapes[part],
            occupied,
        )
        for grades, labels in zip(found, boxes.labels[part]):
            scores.append(grades.cpu().numpy()[np.arange(len(labels)), labels])
    return np.concatenate(scores)


def main() -> None:
    """Compare the rankings, print a table and write the JSON."""
    args = parse_args()
    boxes = Boxes(args.predictions)
    clip = load_clip(args.clip, args.pretrained)
    settings = dict(clip.settings.get('regions') or {})
    if args.way:
        settings['way'] = args.way
    if args.expand:
        settings['expand'] = args.expand
    prompts = dict(clip.settings.get('prompts') or {})
    prompts['classes'] = tuple(boxes.classes)
    own = Prompts(**prompts)
    ways = {"the paper's prompt": ('cosine', Prompts(own.classes))}
    ways.update({mode: (mode, own) for mode in MODES})
    if not own.normal:
        ways.pop('softmax')
    rankings = {'confidence': boxes.confidence}
    for name, (mode, texts) in ways.items():
        scorer = CLIPScorer(
            clip, texts, RegionSettings(**settings), mode, args.cache_dir
        )
        scores = rankings[name] = clip_scores(scorer, boxes)
        for weight in args.weights:
            both = boxes.confidence ** (1 - weight) * scores.clip(0) ** weight
            rankings[f'confidence, {name} {weight}'] = both
    results = {name: judge(boxes, x) for name, x in rankings.items()}
    for name, row in results.items():
        print(
            f'{name:28s} AUROC {row["auroc"]:.3f} (pooled '
            f'{row["auroc_pooled"]:.3f}), precision {row["precision"]:.1%} at '
            f'recall {row["recall"]:.1%} | '
            + ' '.join(f'{x["auroc"]:.2f}' for x in row['classes'].values())
        )
    if args.out:
        content = dict(
            boxes=len(boxes.right),
            right=int(boxes.right.sum()),
            truth=int(boxes.truth.sum()),
            wrong_of_most_confident=wrong_ones(boxes),
            predictions=Path(args.predictions).name,
            regions=settings,
            rankings=results,
        )
        write_audit(args.out, args.clip, clip, content)


if __name__ == '__main__':
    try:
        main()
    except (InputError, FileNotFoundError) as error:
        sys.exit(f'error: {error}')
