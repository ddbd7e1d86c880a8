"""What tools/benchmark.py compares: one function a suite."""

import argparse
from typing import Any, Dict

from mmengine.config import Config

from .clip import ScoreBoxes, ScoreImages
from .comparison import CONFIGS, Results, compare, paired
from .costs import methods
from .detectors import (
    InferDeployed,
    InferToolbox,
    TrainOfficial,
    TrainToolbox,
    official_twin,
)
from .diffusion import Paint, PaintPlainly
from .growth import growth
from .loading import Load
from .scans import Copy, Exponentials, Operator, Scan, Shape
from .semi import PARTS, SemiStep

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
# The reference's gradient of each token is as large as all states: its time
# grows with the square of the length, to minutes a step for one sequence of
# 6,400 tokens and an hour and more for 16.
REFERENCE_SCANS = [
    Shape(batch=batch, channels=d, length=length)
    for batch, length in ((16, 784), (1, 6400))
    for d in (64, 128)
]
SEMI = CONFIGS / 'dsym' / 'dsym_yolov9-t_1xb32-60e_steel-synth-semi.py'
DEMO = CONFIGS / 'dsym' / 'dsym_yolov9-t_1xb16-21e_steel-synth48.py'
YOLOV8 = CONFIGS / 'baselines' / 'yolov8-n_1xb16-200e_steel-synth.py'


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
                        'ours': InferDeployed(args.config, batch),
                        'ours, float32': InferDeployed(
                            args.config, batch, bf16=False
                        ),
                        'official gelan, fused': official_twin(
                            args.config, batch
                        ),
                        'mmyolo yolov8-n': InferToolbox(args.yolov8, batch),
                    },
                    batch,
                    args,
                ),
            )


def scan(args: argparse.Namespace) -> Results:
    """Compare selective scans."""
    for shape in SCANS:
        if args.only in (None, 'train'):
            yield (
                f'train_{shape.name}',
                compare(
                    f'forward and backward, {shape}',
                    {
                        'C++': Scan('cpp', shape),
                        'PyTorch': Scan('torch', shape),
                    },
                    shape.batch,
                    args,
                ),
            )
        if args.only in (None, 'bound'):
            yield f'bound_{shape.name}', scan_bound(shape, args)
    if args.only in (None, 'reference'):
        for shape in REFERENCE_SCANS:
            yield f'reference_{shape.name}', scan_reference(shape, args)


def named(name: str, ratio: Dict[str, float]) -> Dict[str, float]:
    """A ratio of :func:`paired` and its quartiles as keys of a row."""
    keys = {name: 'speed_up', f'{name}_low': 'low', f'{name}_high': 'high'}
    return {key: ratio[part] for key, part in keys.items()}


def scan_bound(shape: Shape, args: argparse.Namespace) -> Dict[str, Any]:
    """Compare the C++ forward with what it cannot do without."""
    copied, computed = 'its bytes, copied', 'its exponentials'
    rows = compare(
        f'forward, {shape}',
        {
            'C++': Operator(shape),
            copied: Copy(shape),
            computed: Exponentials(shape),
        },
        shape.batch,
        args,
        steps=max(20, args.steps),  # of milliseconds
    )
    gigabytes = shape.bytes / min(rows[copied]['seconds']) / 1e9
    exponentials = shape.exponentials / min(rows[computed]['seconds'])
    rows[copied]['gigabytes_per_second'] = gigabytes
    rows[computed]['exponentials_per_second'] = exponentials
    longer = max(copied, computed, key=lambda x: rows[x]['ours_speed_up'])
    times = paired(rows[longer], rows['C++'])
    rows['C++'].update(
        longer_limit=longer, **named('times_the_longer_limit', times)
    )
    print(
        f'copied at {gigabytes:.1f} GB/s, {exponentials:.2e} exponentials/s'
        f'\nC++ takes {times["speed_up"]:.2f}x the time of {longer} '
        f'({times["low"]:.2f}-{times["high"]:.2f})'
    )
    return rows


def scan_reference(shape: Shape, args: argparse.Namespace) -> Dict[str, Any]:
    """Compare scans with mamba-ssm's reference."""
    reference = 'mamba-ssm reference'
    rows = compare(
        f'forward and backward, {shape}',
        {
            'PyTorch': Scan('torch', shape),
            'C++': Scan('cpp', shape),
            reference: Scan('reference', shape),
        },
        shape.batch,
        args,
        rounds=1 if shape.length > 1000 else 3,
        # of seconds, of milliseconds, of minutes
        steps={'PyTorch': 3, 'C++': 20, reference: 1},
        warm={'PyTorch': 1, 'C++': 2, reference: 0},
    )
    over = paired(rows['C++'], rows[reference])
    rows['C++'].update(named('over_reference', over))
    print(
        f'C++ is {over["speed_up"]:.0f}x the reference '
        f'({over["low"]:.0f}-{over["high"]:.0f})'
    )
    return rows


def head(args: argparse.Namespace) -> Results:
    """Compare a detector with and without scans in its head."""
    yield from training(
        args,
        {
            'MambaHead': TrainToolbox(args.config, MAMBA),
            'plain head': TrainToolbox(args.config),
        },
    )
    if args.only == 'train':
        return
    for name, size in (('infer_1', 640), ('infer_1_224', 224)):
        yield (
            name,
            compare(
                f'inference, batch 1, {size} px',
                {
                    'MambaHead': InferToolbox(
                        args.config, 1, size, options=MAMBA
                    ),
                    'plain head': InferToolbox(args.config, 1, size),
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
        PARTS,
        args,
    )
    # each is the part's time over the step's
    parts = sum(
        rows[part]['ours_speed_up']
        for part in ('supervised', 'teacher', 'student')
    )
    memory = rows['supervised, all images']['ours_memory']
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
        PARTS['semi'],
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
    """Time painting against diffusers' own loop, and reading what it made."""
    count, num_steps = 16, 20
    if args.only in (None, 'paint'):
        yield (
            'paint',
            compare(
                f'{count} windows of 128 px, {num_steps} steps of DDIM, '
                'guided',
                {
                    'ours': Paint(count, num_steps),
                    'diffusers, one at a time': PaintPlainly(count, num_steps),
                },
                count,
                args,
                warm=0,
            ),
        )
    if args.only in (None, 'load'):
        images = 64
        yield (
            'load',
            compare(
                'images read for training, half of them synthetic',
                {
                    'DiffusionAugment': Load(str(DEMO), images, True),
                    'its real images': Load(str(DEMO), images, False),
                },
                images,
                args,
            ),
        )


SUITES = dict(
    detector=detector,
    scan=scan,
    head=head,
    semi=semi,
    clip=clip,
    diffusion=diffusion,
    growth=growth,
    methods=methods,
)
# what --only may choose of a suite
ONLY = dict(
    detector=('train', 'infer'),
    scan=('train', 'bound', 'reference'),
    head=('train', 'infer'),
    diffusion=('paint', 'load'),
    growth=('train', 'paths'),
)
