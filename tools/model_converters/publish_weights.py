r"""Write a detector small: OUT.pth in float16 and OUT.py, all it needs.

    python tools/model_converters/publish_weights.py CONFIG \
        work_dirs/my_run/epoch_200.pth out/my_detector --note 'labeled_20'

Kept are the weights that are tested (the average, with an EMAHook), the class
names, the model and the test pipeline, and which commit and data made them.
Optimizer, schedules, messages and paths are left out.
"""

import argparse
from pathlib import Path
from typing import Optional

import torch
from mmdet.utils import get_test_pipeline_cfg
from mmengine.config import Config
from mmengine.runner import CheckpointLoader
from torch import Tensor

import dsym  # noqa: F401  loads checkpoints safely
from dsym.errors import InputError
from dsym.provenance import git_commit


def make_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument('config')
    parser.add_argument('checkpoint')
    parser.add_argument('out', type=Path, help='without an ending')
    parser.add_argument('--note', default='', help='data, recipe, figures')
    return parser


def halve(x: Tensor) -> Tensor:
    """A tensor in float16, if it has the range for its numbers.

    Args:
        x (Tensor): Of a state dict.

    Returns:
        Tensor: Itself if it holds no floats, or finite ones that would become
        infinite.
    """
    if not x.is_floating_point():
        return x
    half = x.half()
    return half if torch.equal(half.isfinite(), x.isfinite()) else x


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
            key: halve(x) for key, x in checkpoint['state_dict'].items()
        },
        meta=dict(
            dataset_meta=meta.get('dataset_meta'),
            epoch=meta.get('epoch'),
            seed=meta.get('seed'),
            commit=git_commit(),
            note=note,
        ),
    )


def inference_config(config: Config, dataset_meta: Optional[dict]) -> Config:
    """What of a config a detector needs outside of training.

    mmdet's ``init_detector`` builds the test data set without its images, for
    the colours, and ``DetInferencer`` the visualizer.

    Args:
        config (Config): Of a training run.
        dataset_meta (dict, optional): ``classes`` and ``palette``.

    Returns:
        Config: Model, test pipeline, classes and visualizer.

    Raises:
        InputError: If the config has no model or no test pipeline.
    """
    try:
        model, pipeline = config.model, get_test_pipeline_cfg(config)
    except (AttributeError, RuntimeError):
        raise InputError(
            f'{config.filename} has no model or no pipeline in its '
            'test_dataloader: give the config of a training run'
        ) from None
    if 'detector' in model:
        raise InputError(
            f'{config.filename} holds a teacher and a student: write the '
            "teacher's config and weights by tools/export_detector.py, and "
            'give these'
        )
    custom = dict(config.get('custom_imports') or {})
    imports = custom.get('imports') or []
    imports = [imports] if isinstance(imports, str) else [*imports]
    if 'dsym' not in imports:
        imports.append('dsym')
    custom.setdefault('allow_failed_imports', False)
    return Config(
        dict(
            custom_imports=dict(custom, imports=imports),
            default_scope=config.get('default_scope', 'mmdet'),
            model=model,
            test_dataloader=dict(
                dataset=dict(
                    type='mmdet.BaseDetDataset',
                    metainfo=dataset_meta,
                    test_mode=True,
                    pipeline=pipeline,
                )
            ),
            visualizer=dict(
                type='mmdet.DetLocalVisualizer',
                vis_backends=[dict(type='LocalVisBackend')],
            ),
        )
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
        small = publish(checkpoint, args.note)
        config = inference_config(
            Config.fromfile(args.config), small['meta']['dataset_meta']
        )
    except (InputError, FileNotFoundError) as error:
        parser.error(str(error))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    weights = args.out.with_name(f'{args.out.name}.pth')
    torch.save(small, weights)
    config.dump(weights.with_suffix('.py'))
    print(f'{weights}: {weights.stat().st_size / 2**20:.1f} MiB')


if __name__ == '__main__':
    main()
