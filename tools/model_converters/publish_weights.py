r"""Write a detector's checkpoint small: float16 weights, where they come from.

    python tools/model_converters/publish_weights.py \
        work_dirs/my_run/epoch_200.pth out/my_detector.pth --note 'labeled_20'

Kept are the weights that are tested (the average, with an EMAHook), the class
names, the config, and which commit and data made them. Optimizer, schedules
and messages are left out.
"""

import argparse
from pathlib import Path

import torch
from mmengine.runner import CheckpointLoader

import dsym  # noqa: F401  loads checkpoints safely
from dsym.errors import InputError
from dsym.provenance import git_commit


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument('checkpoint')
    parser.add_argument('out', type=Path)
    parser.add_argument('--note', default='', help='data, recipe, figures')
    return parser


def publish(checkpoint: dict, note: str) -> dict:
    """Take out of a checkpoint what a user needs.

    Args:
        checkpoint (dict): Of mmengine.
        note (str): What it says about itself.

    Returns:
        dict: ``state_dict`` and ``meta``.
    """
    meta = checkpoint.get('meta', {})
    return dict(
        state_dict={
            key: x.half() if x.is_floating_point() else x
            for key, x in checkpoint['state_dict'].items()
        },
        meta=dict(
            dataset_meta=meta.get('dataset_meta'),
            cfg=meta.get('cfg'),
            epoch=meta.get('epoch'),
            seed=meta.get('seed'),
            commit=git_commit(),
            note=note,
        ),
    )


def main() -> None:
    """Convert one file."""
    parser = make_parser()
    args = parser.parse_args()
    try:
        checkpoint = CheckpointLoader.load_checkpoint(args.checkpoint, 'cpu')
        if 'state_dict' not in checkpoint:
            raise InputError(
                f'{args.checkpoint} has no state_dict: give a checkpoint of '
                'tools/train.py'
            )
    except (InputError, FileNotFoundError) as error:
        parser.error(str(error))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    torch.save(publish(checkpoint, args.note), args.out)
    print(f'{args.out}: {args.out.stat().st_size / 2**20:.1f} MiB')


if __name__ == '__main__':
    main()
