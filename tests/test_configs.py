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
SEMI = [p for p in LEAVES if p.match('dsym/*_neu-det-semi*.py')]
COCO_PARAMS = {  # parameters of the training graph with 80 classes
    't': 3717648,
    's': 9804480,
    'm': 32878400,
    'c': 51182048,
    'e': 69529632,
}


def find(node, key):
    """All values of a key, however deep."""
    if isinstance(node, dict):
        if key in node:
            yield node[key]
        for value in node.values():
            yield from find(value, key)
    elif isinstance(node, (list, tuple)):
        for value in node:
            yield from find(value, key)


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
    elif config.model.type == 'CLIPGrader':
        assert len(config.model.classes) == 6
    else:
        assert set(find(config.model, 'num_classes')) == {6}
    pipelines = [
        pipeline
        for part in ('train', 'val', 'test')
        for pipeline in find(config[f'{part}_dataloader'], 'pipeline')
    ]
    switched = list(find(config.custom_hooks, 'switch_pipeline'))
    mosaic = any(
        'Mosaic' in transform['type']
        for pipeline in find(config.train_dataloader, 'pipeline')
        for transform in pipeline
    )
    # Mosaic ends before the training does.
    if 'steel-synth' not in path.stem or switched:
        assert len(switched) == mosaic
    for pipeline in pipelines + switched:
        for transform in transforms_of(pipeline):
            TRANSFORMS.build(transform)
    for hook in config.custom_hooks:
        HOOKS.build(hook)
    if config.model.type != 'ConditionalDiffusion':  # its losses say it all
        assert config.test_evaluator.type in METRICS.module_dict or (
            config.test_evaluator.type == 'mmdet.CocoMetric'
        )
    cfg = config.train_cfg
    length = cfg.get('max_epochs') or cfg.max_iters
    for scheduler in config.param_scheduler or []:
        if cfg.type == 'MeanTeacherLoop':  # it counts steps
            assert not scheduler.by_epoch
        elif scheduler.get('by_epoch', True):
            assert scheduler.get('end', length) <= length
    if config.param_scheduler:  # MMEngine's own default is the last epoch
        assert config.param_scheduler[-1].get('end', length) == length
    for hook in config.custom_hooks:
        if 'num_last_epochs' in hook:
            assert 0 < hook.num_last_epochs < length


@pytest.mark.parametrize('path', SEMI, ids=lambda p: p.stem)
def test_semi_config__lists_of_images(path):
    config = Config.fromfile(path)
    percent = int(path.stem.rsplit('semi', 1)[1])
    labeled, hidden = f'labeled_{percent}', f'unlabeled_{100 - percent}'
    if percent == 100:  # other views of the same images
        labeled = hidden = 'train'
    dataset = config.train_dataloader.dataset
    if dataset.type == 'DiffusionAugment':
        dataset = dataset.dataset
    assert dataset.split == labeled
    unlabeled = config.train_cfg.unlabeled_dataloader.dataset
    assert unlabeled.split == hidden and unlabeled.unlabeled
    (audit,) = (
        x for x in config.custom_hooks if x.type == 'PseudoLabelAuditHook'
    )
    assert audit.dataset.split == hidden
    # dev is a part of unlabeled_80 and of labeled_40
    assert config.val_dataloader.dataset.split == 'dev'
    assert 'save_best' not in config.default_hooks.checkpoint
