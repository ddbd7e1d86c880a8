"""Every suite in a short form, for CI: ``tools/benchmark.py all``."""

import argparse
import time
from typing import Any, Container, Dict, NamedTuple, Optional

from mmengine.config import Config

from .clip import ScoreBoxes
from .comparison import CONFIGS, Results, compare
from .costs import METHODS
from .detectors import (
    InferDeployed,
    InferToolbox,
    TrainOfficial,
    TrainToolbox,
    official_twin,
)
from .diffusion import Paint, PaintPlainly
from .growth import NoiseStep
from .scans import Scan
from .semi import PARTS, SemiStep
from .suites import ADAMW, MAMBA, SCANS, SEMI

ROUNDS, STEPS = 2, 4
# A step on 16 images and more takes seconds: 8 of each instead of 12.
SLOW = dict(warm=1, steps=3)
# A step is tens of milliseconds: more of them cost nothing, and the median of
# four would be noise.
QUICK = dict(steps=20)


class Short(NamedTuple):
    """A comparison of ``all``.

    Attributes:
        title (str): Heading of its table.
        seconds (int): Planned on two idle cores with AVX2; about 12 of them
            a contender are for the imports and the first step.
        images (int or dict[str, int]): Of a step.
        contenders (dict): By name, the one first whose fall is a loss.
        turns (dict): Where they differ from ``ROUNDS`` and ``STEPS``.
    """

    title: str
    seconds: int
    images: Any
    contenders: Dict[str, Any]
    turns: Dict[str, int] = {}


def plan(args: argparse.Namespace) -> Dict[str, Short]:
    """One or two comparisons of every suite, within 10 minutes.

    Args:
        args (argparse.Namespace): Of the command line: ``config``.

    Returns:
        dict[str, Short]: By suite and comparison.
    """
    batch = Config.fromfile(args.config).train_dataloader.batch_size
    training = f'training step, batch {batch}, 224 px'
    ours = TrainToolbox(args.config)
    step = 16
    methods = {
        name: InferToolbox(str(CONFIGS / f'{METHODS[name]}.py'), 1)
        for name in ('YOLOv9-t', 'YOLOv8-n')
    }
    return {
        'detector/train': Short(
            training,
            95,
            batch,
            {
                'ours': ours,
                'official yolov9-t': TrainOfficial(args.config, ADAMW),
            },
            SLOW,
        ),
        'detector/infer_1': Short(
            'inference, batch 1, 224 px',
            45,
            1,
            {
                'ours': InferDeployed(args.config, 1),
                'official gelan, fused': official_twin(args.config, 1),
            },
            QUICK,
        ),
        'scan/train': Short(
            f'forward and backward, {SCANS[0]}',
            40,
            SCANS[0].batch,
            {
                'C++': Scan('cpp', SCANS[0]),
                'PyTorch': Scan('torch', SCANS[0]),
            },
        ),
        'head/train': Short(
            training,
            75,
            batch,
            {
                'MambaHead': TrainToolbox(args.config, MAMBA),
                'plain head': ours,
            },
            SLOW,
        ),
        'semi/step': Short(
            'semi-supervised step, 16 labelled and 16 unlabelled images',
            105,
            {
                'semi-supervised': PARTS['semi'],
                'supervised': PARTS['supervised'],
            },
            {
                'semi-supervised': SemiStep(str(SEMI), 'semi'),
                'supervised': SemiStep(str(SEMI), 'supervised'),
            },
            SLOW,
        ),
        'clip/boxes': Short(
            'scores of 4 boxes in each of 16 images',
            45,
            16,
            {way: ScoreBoxes(str(SEMI), way) for way in ('dense', 'crops')},
        ),
        'diffusion/paint': Short(
            '8 windows of 128 px, 5 steps of DDIM, guided',
            70,
            8,
            {
                'ours': Paint(8, 5),
                'diffusers, one at a time': PaintPlainly(8, 5),
            },
            dict(warm=0, steps=2),
        ),
        'growth/processes': Short(
            f'training step on noise, {step} images of 224 px',
            70,
            step,
            {
                '2 processes': NoiseStep(args.config, step, processes=2),
                '1 process': NoiseStep(args.config, step),
            },
            SLOW,
        ),
        'methods/infer_1': Short(
            'inference, batch 1, 224 px', 40, 1, methods, QUICK
        ),
    }


def short(
    args: argparse.Namespace, only: Optional[Container[str]] = None
) -> Results:
    """Run the plan and say of each part how long it took.

    Args:
        args (argparse.Namespace): Of the command line.
        only (container[str], optional): Names of parts. Defaults to all.
    """
    args.rounds, args.steps = ROUNDS, STEPS
    for name, part in plan(args).items():
        if only is not None and name not in only:
            continue
        begin = time.monotonic()
        rows = compare(
            part.title, part.contenders, part.images, args, **part.turns
        )
        taken = time.monotonic() - begin
        print(f'{name}: {taken:.0f} s, planned {part.seconds}', flush=True)
        yield name, rows
