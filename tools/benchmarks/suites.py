"""What tools/benchmark.py compares: one function a suite."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any, Dict, Iterator, Tuple, Union

from mmengine.config import Config

from .alternation import alternate, ratios
from .clip import ScoreBoxes, ScoreImages
from .detectors import (
    InferOfficial,
    InferToolbox,
    TrainOfficial,
    TrainToolbox,
)
from .diffusion import Paint, PaintPlainly
from .growth import NoiseStep
from .scans import Copy, Exponentials, Operator, Scan, Shape
from .semi import PARTS, SemiStep

Results = Iterator[Tuple[str, Dict[str, Any]]]
CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
OURS = CONFIGS / 'yolov9' / 'yolov9-t_1xb16-200e_steel-synth.py'
# The official code has no Muon: AdamW, the cheaper one, is its optimizer here.
ADAMW = {
    'optim_wrapper.optimizer': dict(
        _delete_=True,
        type='AdamW',
        lr=2e-3,
        betas=(0.937, 0.999),
        weight_decay=0.01,
        fused=True,
    )
}
MAMBA = {
    'model.bbox_head.type': 'MambaHead',
    'model.bbox_head.head_module.type': 'MambaHeadModule',
}
SCANS = [
    Shape(batch=16, channels=d, length=length)
    for length in (784, 6400)  # P3 of 224 and of 640 px
    for d in (64, 128)
]
# The reference's gradient of each token is as large as all states: 40 s a step
# for 16 sequences of 784 tokens, and 67 times that for 6,400. It computes
# sequences one after the other in time: few of them have the same ratio.
REFERENCE_SCANS = [
    Shape(batch=4, channels=64, length=784),
    Shape(batch=4, channels=128, length=784),
    Shape(batch=1, channels=64, length=6400),
]
# of the series of `growth`, from what NEU-DET is trained with
SIZES = 224, 128, 320, 448, 640
BATCHES = 16, 1, 4, 8, 32
CLASSES = 6, 1, 80, 365
SEMI = CONFIGS / 'dsym' / 'dsym_yolov9-t_1xb32-60e_steel-synth-semi.py'
YOLOV8 = CONFIGS / 'baselines' / 'yolov8-n_1xb16-200e_steel-synth.py'


def compare(
    title: str,
    contenders: Dict[str, Any],
    images: Union[int, Dict[str, int]],
    args: argparse.Namespace,
    **turns_as,
) -> Dict[str, Any]:
    """Time contenders, the first of which is ours, and print a table."""
    if isinstance(images, int):
        images = dict.fromkeys(contenders, images)
    print(f'\n{title}', flush=True)
    turns = alternate(
        contenders, **{'rounds': args.rounds, 'steps': args.steps, **turns_as}
    )
    ours = next(iter(turns))
    rows = {}
    for name, turn in turns.items():
        best = min(turn.seconds)
        rows[name] = dict(
            images_per_second=images[name] / best,
            peak_mib=turn.peak_mib,
            **{f'ours_{k}': v for k, v in ratios(turns[ours], turn).items()},
        )
        row = rows[name]
        print(
            f'{name:32s} {row["images_per_second"]:7.1f} img/s '
            f'{turn.peak_mib:6.0f} MiB | ours is '
            f'{row["ours_speed_up"]:.2f}x as fast '
            f'({row["ours_low"]:.2f}-{row["ours_high"]:.2f}), '
            f'{row["ours_memory"]:.2f}x the memory',
            flush=True,
        )
    return rows


def training(args: argparse.Namespace, contenders: dict) -> Results:
    """Compare training steps, unless only inference is asked for."""
    if args.only != 'infer':
        batch = Config.fromfile(args.config).train_dataloader.batch_size
        title = f'training step, batch {batch}, 224 px'
        yield 'train', compare(title, contenders, batch, args)


def detector(args: argparse.Namespace) -> Results:
    """Compare detectors."""
    yield from training(
        args,
        {
            'ours': TrainToolbox(args.config),
            'official yolov9-t': TrainOfficial(args.config, ADAMW),
            'official, our order and bf16': TrainOfficial(
                args.config, ADAMW, fast=True
            ),
            'mmyolo yolov8-n': TrainToolbox(args.yolov8),
        },
    )
    if args.only != 'train':
        for batch in (1, 16):
            yield (
                f'infer_{batch}',
                compare(
                    f'inference, batch {batch}, 224 px',
                    {
                        'ours': InferToolbox(args.config, batch),
                        'ours, bf16': InferToolbox(
                            args.config, batch, bf16=True
                        ),
                        'official gelan-t, fused': InferOfficial('t', batch),
                        'mmyolo yolov8-n': InferToolbox(args.yolov8, batch),
                    },
                    batch,
                    args,
                ),
            )


def scan(args: argparse.Namespace) -> Results:
    """Compare selective scans."""
    for shape in [] if args.only == 'reference' else SCANS:
        yield (
            f'train_{shape.name}',
            compare(
                f'forward and backward, {shape}',
                {'C++': Scan('cpp', shape), 'PyTorch': Scan('torch', shape)},
                shape.batch,
                args,
            ),
        )
        limits = {
            'its bytes, copied': Copy(shape),
            'its exponentials': Exponentials(shape),
        }
        rows = compare(
            f'forward, {shape}',
            {'C++': Operator(shape), **limits},
            shape.batch,
            args,
        )
        # the goal is 3: both limits' seconds are the C++ ones' times speed_up
        longer = max(rows[name]['ours_speed_up'] for name in limits)
        rows['C++']['times_the_longer_limit'] = 1 / longer
        print(f'C++ takes {1 / longer:.2f}x the time of the longer of both')
        yield f'bound_{shape.name}', rows
    for shape in REFERENCE_SCANS:
        rows = compare(
            f'forward and backward, {shape}',
            {
                'PyTorch': Scan('torch', shape),
                'C++': Scan('cpp', shape),
                'mamba-ssm reference': Scan('reference', shape),
            },
            shape.batch,
            args,
            rounds=1 if shape.length > 1000 else 2,
            steps=1,
            warm=0,
        )
        cpp, slow = rows['C++'], rows['mamba-ssm reference']
        cpp['over_reference'] = (
            cpp['images_per_second'] / slow['images_per_second']
        )
        print(f'C++ is {cpp["over_reference"]:.0f}x the reference')
        yield f'reference_{shape.name}', rows


def head(args: argparse.Namespace) -> Results:
    """Compare a detector with and without scans in its head."""
    yield from training(
        args,
        {
            'MambaHead': TrainToolbox(args.config, MAMBA),
            'plain head': TrainToolbox(args.config),
        },
    )
    if args.only != 'train':
        yield (
            'infer_1',
            compare(
                'inference, batch 1, 640 px',
                {
                    'MambaHead': InferToolbox(
                        args.config, 1, 640, options=MAMBA
                    ),
                    'plain head': InferToolbox(args.config, 1, 640),
                },
                1,
                args,
            ),
        )


def semi(args: argparse.Namespace) -> Results:
    """Compare a semi-supervised step with the sum of its parts."""
    rows = compare(
        'semi-supervised step, 16 labelled and 16 unlabelled images, 224 px',
        {part: SemiStep(str(SEMI), part) for part in PARTS},
        32,
        args,
    )
    # each is the part's time over the step's
    parts = sum(rows[part]['ours_speed_up'] for part in PARTS[1:4])
    memory = rows[PARTS[-1]]['ours_memory']
    print(f'{1 / parts:.2f}x the time of its parts, {memory:.2f}x the memory')
    yield 'step', rows
    yield 'summary', dict(time_of_parts=1 / parts, memory=memory)


def clip(args: argparse.Namespace) -> Results:
    """Time what CLIP's filter adds, and the ways it may score."""
    rows = compare(
        'semi-supervised step, 16 labelled and 16 unlabelled images, 224 px',
        {
            'with CLIP': SemiStep(str(SEMI), 'semi', clip=True),
            'without': SemiStep(str(SEMI), 'semi'),
        },
        32,
        args,
    )
    added = 1 / rows['without']['ours_speed_up'] - 1
    print(f'the filter adds {added:.1%}')
    yield 'step', dict(rows, added=added)
    yield (
        'boxes',
        compare(
            'scores of 4 boxes in each of 16 images',
            {way: ScoreBoxes(str(SEMI), way) for way in ('dense', 'crops')},
            16,
            args,
        ),
    )
    yield (
        'images',
        compare(
            'scores of 16 images, ViT-B-32',
            {
                'warm cache': ScoreImages(str(SEMI), cached=True),
                'one at a time': ScoreImages(str(SEMI), cached=False),
            },
            16,
            args,
        ),
    )


def diffusion(args: argparse.Namespace) -> Results:
    """Time painting against diffusers' own loop."""
    count, num_steps = 16, 20
    yield (
        'paint',
        compare(
            f'{count} windows of 128 px, {num_steps} steps of DDIM, guided',
            {
                'ours': Paint(count, num_steps),
                'diffusers, one at a time': PaintPlainly(count, num_steps),
            },
            count,
            args,
            warm=0,
        ),
    )


def growth(args: argparse.Namespace) -> Results:
    """Time training steps as images, batches, classes, processes grow.

    The first of each series is what the others' times are divided by.
    """
    step = NoiseStep(args.config)
    series = {
        'size': [replace(step, batch_size=4, size=n) for n in SIZES],
        'batch': [replace(step, batch_size=n) for n in BATCHES],
        'classes': [replace(step, num_classes=n) for n in CLASSES],
        'processes': [
            replace(step, batch_size=16, processes=n) for n in (1, 2)
        ],
    }
    for name, steps in series.items():
        contenders = {str(step): step for step in steps}
        images = {str(step): step.batch_size for step in steps}
        title = f'training step by {name}'
        yield name, compare(title, contenders, images, args)


def short(args: argparse.Namespace) -> Results:
    """One or two comparisons of every suite, for CI: within 10 minutes."""
    args.rounds, args.steps = 2, 4
    yield (
        'detector/train',
        compare(
            'training step, batch 16, 224 px',
            {
                'ours': TrainToolbox(args.config),
                'official yolov9-t': TrainOfficial(args.config, ADAMW),
            },
            16,
            args,
        ),
    )
    yield (
        'detector/infer_1',
        compare(
            'inference, batch 1, 224 px',
            {
                'ours': InferToolbox(args.config, 1),
                'official gelan-t, fused': InferOfficial('t', 1),
            },
            1,
            args,
        ),
    )
    yield (
        'scan/train',
        compare(
            f'forward and backward, {SCANS[0]}',
            {
                'C++': Scan('cpp', SCANS[0]),
                'PyTorch': Scan('torch', SCANS[0]),
            },
            SCANS[0].batch,
            args,
            steps=2,
        ),
    )
    yield (
        'head/train',
        compare(
            'training step, batch 16, 224 px',
            {
                'MambaHead': TrainToolbox(args.config, MAMBA),
                'plain head': TrainToolbox(args.config),
            },
            16,
            args,
        ),
    )
    yield (
        'semi/step',
        compare(
            'semi-supervised step, 16 labelled and 16 unlabelled images',
            {
                'semi-supervised': SemiStep(str(SEMI), 'semi'),
                'supervised': SemiStep(str(SEMI), PARTS[1]),
            },
            32,
            args,
        ),
    )
    yield (
        'clip/boxes',
        compare(
            'scores of 4 boxes in each of 16 images',
            {way: ScoreBoxes(str(SEMI), way) for way in ('dense', 'crops')},
            16,
            args,
        ),
    )
    yield (
        'diffusion/paint',
        compare(
            '8 windows of 128 px, 5 steps of DDIM, guided',
            {
                'ours': Paint(8, 5),
                'diffusers, one at a time': PaintPlainly(8, 5),
            },
            8,
            args,
            warm=0,
        ),
    )


SUITES = dict(
    all=short,
    detector=detector,
    scan=scan,
    head=head,
    semi=semi,
    clip=clip,
    diffusion=diffusion,
    growth=growth,
)
