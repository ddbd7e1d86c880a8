"""A study of seconds."""

from pathlib import Path

import yaml
from tiny_run import write_config

ROOT = Path(__file__).parents[1]


def write_study(folder, **changes):
    """A study of one run of three epochs, each of them saved."""
    run = dict(
        name='tiny',
        config=str(write_config(folder, ROOT / 'configs')),
        seeds=[3],
        options={
            'train_cfg.max_epochs': 3,
            'train_cfg.val_interval': 3,
            'default_hooks.checkpoint.interval': 1,
        },
    )
    run.update(changes)
    study = dict(
        results=str(folder / 'results'),
        tests=dict(held_out={'test_dataloader.dataset.seed': 1}),
        runs=[run],
    )
    path = folder / 'study.yaml'
    path.write_text(yaml.safe_dump(study))
    return path
