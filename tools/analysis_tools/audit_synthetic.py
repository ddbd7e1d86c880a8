r"""Do synthetic defects show what real ones of their class show?

    python tools/analysis_tools/audit_synthetic.py CONFIG --split dev \
        --out audit.json

CONFIG has a ``DiffusionAugment`` around a data set with a ``split``. A small
classifier is trained from scratch on crops of real defects, and another on
crops of synthetic ones; each is asked for the class of crops of the other
kind and of real defects of ``--split``, which neither has seen. Crops are
squares of 1.2 times a box's longer side, at 64 x 64 px, of equal brightness.
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Dict, List, Sequence, Tuple

import numpy as np
import torch
from mmengine.config import Config, DictAction
from mmengine.registry import DATASETS, init_default_scope
from torch import Tensor, nn
from torch.nn import functional as F

from dsym.datasets.diffusion_augment import find_augment
from dsym.diffusion.examples import read_image
from dsym.diffusion.windows import (
    cut_window,
    place_window,
    real_instances,
)
from dsym.errors import InputError
from dsym.evaluation.pseudo_label_audit import nan_to_none
from dsym.provenance import describe_machine, git_commit

SIZE = 64
CONTEXT = 1.2  # side of a crop for one of a box's longer side
STEPS = 400
BATCH = 64

Crops = Tuple[Tensor, Tensor]  # (N, 1, 64, 64) and (N,)


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument('config')
    parser.add_argument('--split', default='dev', help='real, unseen defects')
    parser.add_argument('--seeds', type=int, default=3)
    parser.add_argument('--out', type=Path)
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    return parser.parse_args()


def defects(dataset) -> List[tuple]:
    """Image, box and label of all defects of a data set."""
    return [
        (info['img_path'], x['bbox'], x['bbox_label'])
        for info in map(dataset.get_data_info, range(len(dataset)))
        for x in real_instances(info)
    ]


def painted(ann_file: Path) -> List[tuple]:
    """The same of the painted ones of a set; not of real ones beside them."""
    coco = json.loads(ann_file.read_text())
    names = {x['id']: x['file_name'] for x in coco['images']}
    found = []
    for x in coco['annotations']:
        if x['synthetic']:
            left, top, width, height = x['bbox']
            path = str(ann_file.parent / 'images' / names[x['image_id']])
            box = [left, top, left + width, top + height]
            found.append((path, box, x['category_id'] - 1))
    return found


def crops(found: Sequence[tuple]) -> Crops:
    """Crops of defects, without their mean."""
    parts, labels = [], []
    images: Dict[str, np.ndarray] = {}
    for path, box, label in found:
        if path not in images:
            images[path] = read_image(path, 1)
        image = images[path]
        place = place_window(box, image.shape[:2], CONTEXT, min_side=1)
        window = cut_window(image, *place, SIZE)
        part = window.image[..., 0].astype(np.float32)
        parts.append((part - part.mean()) / 64)
        labels.append(label)
    return torch.from_numpy(np.stack(parts))[:, None], torch.tensor(labels)


def train(data: Crops, classes: int, seed: int) -> nn.Module:
    """Train a classifier of four convolutions on crops, flipped by chance."""
    torch.manual_seed(seed)
    layers = []
    for low, high in ((1, 16), (16, 32), (32, 64), (64, 128)):
        layers += [
            nn.Conv2d(low, high, 3, stride=2, padding=1),
            nn.BatchNorm2d(high),
            nn.SiLU(),
        ]
    pool = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.2)]
    model = nn.Sequential(*layers, *pool, nn.Linear(128, classes))
    optimizer = torch.optim.AdamW(model.parameters(), 2e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, STEPS)
    images, labels = data
    # every class as often
    weights = 1 / torch.bincount(labels, minlength=classes).float()[labels]
    for _ in range(STEPS):
        chosen = torch.multinomial(weights, BATCH, replacement=True)
        batch = images[chosen]
        for axis in (2, 3):
            flip = torch.rand(BATCH) < 0.5
            batch[flip] = batch[flip].flip(axis)
        loss = F.cross_entropy(model(batch), labels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model.eval()


@torch.no_grad()
def recalls(model: nn.Module, data: Crops, classes: int) -> Tensor:
    """Share of the crops of each class that get it, ``(C,)``; NaN of none."""
    said = model(data[0]).argmax(1)
    return torch.stack(
        [(said[data[1] == i] == i).float().mean() for i in range(classes)]
    )


def main() -> None:
    """Train, ask, print a table and write the JSON."""
    args = parse_args()
    config = Config.fromfile(args.config)
    config.merge_from_dict(args.cfg_options or {})
    init_default_scope(config.get('default_scope', 'mmdet'))
    options = find_augment(config)
    augmented = DATASETS.build(options)
    if augmented.ann_file is None:
        raise InputError(
            f'{args.config}: ratio=0 asks for no synthetic image: give more'
        )
    if 'split' not in options.dataset:
        raise InputError(
            f'{args.config}: the data set of DiffusionAugment has no split, '
            f'so there is none called {args.split}: give one of '
            'NEUDETDataset, or of a class with splits'
        )
    real = augmented.datasets[0]
    unseen = DATASETS.build(dict(options.dataset, split=args.split))
    found = {
        'real': defects(real),
        'synthetic': painted(augmented.ann_file),
        args.split: defects(unseen),
    }
    for name, boxes in found.items():
        if not boxes:
            raise InputError(f'{args.config}: {name} shows no defect')
    data: Dict[str, Crops] = {k: crops(x) for k, x in found.items()}
    names = real.metainfo['classes']
    results = {}
    for source in ('real', 'synthetic'):
        others = [x for x in data if x != source]
        rows_of: Dict[str, list] = {x: [] for x in others}
        for seed in range(args.seeds):
            model = train(data[source], len(names), seed)
            for name in others:
                rows_of[name].append(recalls(model, data[name], len(names)))
        for name, rows in rows_of.items():
            rows = torch.stack(rows)
            key = f'{source} -> {name}'
            each = rows.nanmean(1)  # over the classes that are there
            results[key] = dict(
                accuracy=float(each.mean()),
                std=float(each.std()) if args.seeds > 1 else None,
                classes=nan_to_none(dict(zip(names, rows.mean(0).tolist()))),
            )
            print(
                f'{key:24s} {each.mean():.1%} | '
                + ' '.join(f'{x:.0%}' for x in rows.mean(0))
            )
    if args.out:
        content = dict(
            crops={k: len(x[1]) for k, x in data.items()},
            seeds=args.seeds,
            commit=git_commit(),
            machine=describe_machine(),
            results=results,
        )
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.write_text(json.dumps(content, indent=2) + '\n')
        print(f'wrote {args.out}')


if __name__ == '__main__':
    try:
        main()
    except (InputError, FileNotFoundError) as error:
        sys.exit(f'error: {error}')
