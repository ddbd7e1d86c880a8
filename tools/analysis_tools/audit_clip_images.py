r"""Does CLIP's filter refuse images without a defect, and keep the others?

    python tools/analysis_tools/audit_clip_images.py CONFIG \
        --clip work_dirs/clip/clip --split dev --out audit_images.json

CONFIG is a detector's: thresholds come from the labelled images of its
``train_dataloader``, without synthetic ones, defect images from ``--split`` of
the same data set. Beside them are put, as many in all as there are of these:
crops without any true box, enlarged to the size of an image; defect-free
surfaces of SteelSynth; noise, white and smooth. They are written to
``--images``, to be looked at.
"""

import argparse
import sys
from pathlib import Path
from typing import Dict, List, Sequence, Tuple

import cv2
import mmcv
import numpy as np
import torch
from audit_record import write_audit
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS, init_default_scope

from dsym.clip import PseudoLabelFilter, load_scorer
from dsym.clip.calibration import (
    calibrate,
    labelled_samples,
)
from dsym.clip.scorer import MODES
from dsym.clip.typical import TypicalImages
from dsym.datasets.real_images import labelled_images, real_part
from dsym.datasets.steel_textures import SURFACES, smooth_noise, steel_surface
from dsym.errors import InputError

MIN_SIDE = 64  # px of a crop without a defect, of 200
TRIES = 200


def parse_args() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument('config')
    parser.add_argument('--clip', required=True, help='an adapted one')
    parser.add_argument('--split', default='dev', help='of defect images')
    parser.add_argument('--mode', choices=MODES, default='softmax')
    parser.add_argument('--images', type=Path, default=Path('polluted'))
    parser.add_argument('--cache-dir')
    parser.add_argument('--out', type=Path)
    return parser.parse_args()


def other_split(config: Config, split: str) -> BaseDataset:
    """Build another split of the labelled data set of a config.

    Args:
        config (Config): With ``train_dataloader``.
        split (str): Name or file.

    Returns:
        BaseDataset: Its images.

    Raises:
        InputError: If the data set has no splits.
    """
    settings = real_part(config.train_dataloader.dataset)
    while 'dataset' in settings:
        settings = settings['dataset']
    if 'split' not in settings:
        raise InputError(
            f'--split {split}: train_dataloader.dataset of {config.filename} '
            'has no split: give a config of NEUDETDataset'
        )
    return DATASETS.build(dict(settings, split=split))


def free_crop(
    sample: tuple, rng: np.random.Generator
) -> Tuple[bool, np.ndarray]:
    """A square of an image that no true box touches, at the image's size.

    Args:
        sample (tuple): Of ``labelled_samples``.
        rng (np.random.Generator): Source of randomness.

    Returns:
        tuple[bool, np.ndarray]: Whether there is one, and it.
    """
    path, (height, width), truth = sample
    if min(height, width) <= MIN_SIDE:
        return False, mmcv.imread(path)
    boxes = truth.bboxes.numpy()
    best = (0, 0, 0)
    for _ in range(TRIES):
        side = int(rng.integers(MIN_SIDE, min(height, width)))
        x = int(rng.integers(0, width - side + 1))
        y = int(rng.integers(0, height - side + 1))
        apart = (
            (boxes[:, 0] >= x + side)
            | (boxes[:, 2] <= x)
            | (boxes[:, 1] >= y + side)
            | (boxes[:, 3] <= y)
        )
        if apart.all() and side > best[0]:
            best = (side, x, y)
    side, x, y = best
    image = mmcv.imread(path)
    if not side:
        return False, image
    part = image[y : y + side, x : x + side]
    return True, cv2.resize(part, (width, height))


def polluted(
    samples: Sequence[tuple], folder: Path, seed: int = 0
) -> Dict[str, List[str]]:
    """Write images that show no defect of the labelled kinds.

    Args:
        samples (Sequence[tuple]): Defect images, of ``labelled_samples``.
        folder (Path): Where to.
        seed (int): Of the drawing. Defaults to 0.

    Returns:
        dict[str, list[str]]: Their paths by kind.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    share = len(samples) // 4
    images: Dict[str, list] = {
        'crops without a defect': [],
        'SteelSynth surfaces': [],
        'white noise': [],
        'smooth noise': [],
    }
    names = sorted(SURFACES)
    for i in rng.permutation(len(samples)):
        if len(images['crops without a defect']) == share:
            break
        found, crop = free_crop(samples[i], rng)
        if found:
            images['crops without a defect'].append(crop)
    for i in range(share):
        surface = steel_surface(rng, names[i % len(names)])
        images['SteelSynth surfaces'].append(surface)
        images['white noise'].append(rng.normal(128, 40, (200, 200)))
        step = float(rng.uniform(3, 30))
        noise = smooth_noise(rng, 200, 200, step, step)
        images['smooth noise'].append(128 + 40 * noise)
    paths: Dict[str, List[str]] = {}
    for kind, pictures in images.items():
        paths[kind] = []
        for i, picture in enumerate(pictures):
            path = folder / f'{kind.replace(" ", "_")}_{i:03d}.png'
            picture = np.clip(picture, 0, 255).astype(np.uint8)
            mmcv.imwrite(picture, str(path))
            paths[kind].append(str(path))
    return paths


def kept(judge: PseudoLabelFilter, paths: Sequence[str]) -> np.ndarray:
    """Which images the filter keeps."""
    samples = []
    for path in paths:
        shape = mmcv.imread(path).shape[:2]
        samples.append(
            DetDataSample(metainfo=dict(img_path=path, ori_shape=shape))
        )
    return np.array(judge.keep_images(samples))


def main() -> None:
    """Judge all images, print a table and write the JSON."""
    args = parse_args()
    config = Config.fromfile(args.config)
    init_default_scope(config.get('default_scope', 'mmdet'))
    dataset = labelled_images(config)
    labelled = labelled_samples(dataset)
    defects = labelled_samples(other_split(config, args.split))
    classes = dataset.metainfo['classes']
    scorer = load_scorer(
        args.clip, classes, args.mode, cache_dir=args.cache_dir
    )
    found = calibrate(scorer, labelled, precision=0.8)
    likeness = TypicalImages.of(scorer, labelled)
    pictures = polluted(defects, args.images)
    pictures['defect images'] = [path for path, *_ in defects]
    judges = {
        'score': (found.image_tau, None),
        'likeness': (0.0, likeness),
        'both': (found.image_tau, likeness),
    }
    results: Dict[str, Dict[str, float]] = {}
    for name, (tau, typical) in judges.items():
        judge = PseudoLabelFilter(
            scorer,
            torch.tensor(found.tau),
            tau,
            typical=typical,
            typical_tau=found.typical_tau,
        )
        shares = {kind: kept(judge, x) for kind, x in pictures.items()}
        foreign = np.concatenate([*shares.values()][:-1])
        results[name] = {k: float(x.mean()) for k, x in shares.items()}
        results[name]['refused'] = float(1 - foreign.mean())
        print(
            f'{name}: keeps {results[name]["defect images"]:.1%} of the '
            f'defect images, refuses {results[name]["refused"]:.1%} of the '
            'others; keeps '
            + ', '.join(f'{x.mean():.1%} of {k}' for k, x in shares.items())
        )
    if args.out:
        content = dict(
            config=Path(args.config).name,
            mode=args.mode,
            split=args.split,
            images={k: len(x) for k, x in pictures.items()},
            image_tau=found.image_tau,
            typical_tau=found.typical_tau,
            kept=results,
        )
        write_audit(args.out, args.clip, scorer.clip, content)


if __name__ == '__main__':
    try:
        main()
    except (InputError, FileNotFoundError) as error:
        sys.exit(f'error: {error}')
