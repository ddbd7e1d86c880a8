"""Every config is complete: its parts can be built from the registries."""

from pathlib import Path

import pytest
from mmengine.config import Config
from mmengine.registry import (
    HOOKS,
    METRICS,
    MODELS,
    TRANSFORMS,
    init_default_scope,
)

CONFIGS = Path(__file__).parents[1] / 'configs'
LEAVES = sorted(p for p in CONFIGS.glob('[!_]*/*.py'))
COCO_PARAMS = {  # parameters of the training graph with 80 classes
    't': 3717648,
    's': 9804480,
    'm': 32878400,
    'c': 51182048,
    'e': 69529632,
}


def transforms_of(pipeline):
    for transform in pipeline:
        yield transform
        yield from transforms_of(transform.get('pre_transform') or [])


@pytest.mark.parametrize('path', LEAVES, ids=lambda p: p.stem)
def test_config_builds(path):
    config = Config.fromfile(path)
    init_default_scope(config.default_scope)
    model = MODELS.build(config.model)
    if path.stem.endswith('coco'):
        count = sum(p.numel() for p in model.parameters())
        assert count == COCO_PARAMS[config.model.backbone.arch]
    else:
        assert model.bbox_head.num_classes == 6
    pipelines = [
        config[f'{part}_dataloader'].dataset.pipeline
        for part in ('train', 'val', 'test')
    ]
    pipelines += [
        hook.switch_pipeline
        for hook in config.custom_hooks
        if 'switch_pipeline' in hook
    ]
    # training, its last epochs without mosaic, validation, test
    assert len(pipelines) == (3 if 'steel-synth' in path.stem else 4)
    for pipeline in pipelines:
        for transform in transforms_of(pipeline):
            TRANSFORMS.build(transform)
    for hook in config.custom_hooks:
        HOOKS.build(hook)
    assert config.test_evaluator.type in METRICS.module_dict or (
        config.test_evaluator.type == 'mmdet.CocoMetric'
    )
    epochs = config.train_cfg.max_epochs
    for scheduler in config.param_scheduler or []:
        assert scheduler.end <= epochs
    if config.param_scheduler:
        assert config.param_scheduler[-1].end == epochs
