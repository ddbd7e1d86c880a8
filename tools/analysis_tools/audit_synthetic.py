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
from pathlib import Path
from typing import Dict, Tuple

import cv2
import numpy as np
import torch
from mmengine.config import Config, DictAction
from mmengine.registry import DATASETS, init_default_scope
from torch import Tensor, nn
from torch.nn import functional as F

from dsym.datasets.diffusion_augment import find_augment
from dsym.diffusion.examples import read_image
from dsym.diffusion.windows import real_instances
from dsym.provenance import describe_machine, git_commit

SIZE = 64
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


def crops(dataset) -> Crops:
    """Crops of all defects of a data set, without their mean."""
    parts, labels = [], []
    for i in range(len(dataset)):
        info = dataset.get_data_info(i)
        image = read_image(info['img_path'], 1)
        for x in real_instances(info):
            x1, y1, x2, y2 = x['bbox']
            side = round(min(1.2 * max(x2 - x1, y2 - y1), *image.shape[:2]))
            left = round(min(max((x1 + x2 - side) / 2, 0), 1e9))
            top = round(min(max((y1 + y2 - side) / 2, 0), 1e9))
            left = min(left, image.shape[1] - side)
            top = min(top, image.shape[0] - side)
            part = image[top : top + side, left : left + side]
            part = cv2.resize(part, (SIZE, SIZE)).astype(np.float32)
            parts.append((part - part.mean()) / 64)
            labels.append(x['bbox_label'])
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
    """Share of the crops of each class that get it, ``(C,)``."""
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
    real, synthetic = DATASETS.build(options).datasets
    unseen = dict(options.dataset, split=args.split)
    data: Dict[str, Crops] = {
        'real': crops(real),
        'synthetic': crops(synthetic),
        args.split: crops(DATASETS.build(unseen)),
    }
    names = real.metainfo['classes']
    results = {}
    for source in ('real', 'synthetic'):
        others = [x for x in data if x != source]
        found: Dict[str, list] = {x: [] for x in others}
        for seed in range(args.seeds):
            model = train(data[source], len(names), seed)
            for name in others:
                found[name].append(recalls(model, data[name], len(names)))
        for name, rows in found.items():
            rows = torch.stack(rows)
            key = f'{source} -> {name}'
            results[key] = dict(
                accuracy=float(rows.mean()),
                std=float(rows.mean(1).std()) if args.seeds > 1 else None,
                classes=dict(zip(names, rows.mean(0).tolist())),
            )
            print(
                f'{key:24s} {rows.mean():.1%} | '
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
    main()
