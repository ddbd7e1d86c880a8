"""TrueLabelsHook: the audit of a real run whose labels are the truth."""

import json
import os

import pytest
from tiny_semi import semi_config, train

from dsym.datasets import SteelSynthDataset
from dsym.engine import TrueLabelsHook
from dsym.errors import InputError


def unlabeled_images(config, **changes):
    dataset = config.train_cfg.unlabeled_dataloader.dataset
    return dict(dataset, **changes)


def test_all_labels_are_right_and_none_is_missing(tmp_path):
    config = semi_config(tmp_path, burn_in=1, max_epochs=2)
    config.pop('labeled_loader')
    hidden = unlabeled_images(config)
    config.custom_hooks = [
        dict(type='PseudoLabelAuditHook', dataset=hidden),
        dict(type='TrueLabelsHook', dataset=hidden),
    ]
    train(config)
    path = tmp_path / 'work_dir' / 'pseudo_labels.json'
    (entry,) = json.loads(path.read_text())
    # which stand in the place of what the teacher predicted
    for name in ('rescored', 'selected'):
        stage = entry['stages'][name]
        assert stage['images'] == 8
        assert stage['boxes'] == stage['true_positives'] == stage['truth'] > 0


def test_an_image_without_truth__is_named(tmp_path):
    config = semi_config(tmp_path, burn_in=0, max_epochs=1)
    config.pop('labeled_loader')
    others = unlabeled_images(config, seed=7)
    config.custom_hooks = [dict(type='TrueLabelsHook', dataset=others)]
    with pytest.raises(InputError, match='dataset does not have this image'):
        train(config)


def test_a_model_without_pseudo_labels__is_refused():
    class Runner:
        model = object()

    hook = TrueLabelsHook(dict())
    with pytest.raises(InputError, match='object makes no pseudo-labels'):
        hook.before_train(Runner)


def test_paths_written_otherwise__are_the_same_image(tmp_path, monkeypatch):
    """A folder's data set gives absolute ones, others relative ones."""
    config = semi_config(tmp_path, burn_in=0, max_epochs=1)
    config.pop('labeled_loader')
    monkeypatch.chdir(tmp_path)
    hidden = unlabeled_images(config)
    hidden['data_root'] = os.path.relpath(hidden['data_root'])
    config.custom_hooks = [dict(type='TrueLabelsHook', dataset=hidden)]
    _, steps = train(config)
    assert len(steps) == 4


@pytest.mark.parametrize('hook', ['TrueLabelsHook', 'PseudoLabelAuditHook'])
def test_other_order_of_classes__is_refused(tmp_path, hook):
    config = semi_config(tmp_path, burn_in=0, max_epochs=1)
    config.pop('labeled_loader')
    classes = SteelSynthDataset.METAINFO['classes'][::-1]
    hidden = unlabeled_images(config, metainfo=dict(classes=classes))
    config.custom_hooks = [dict(type=hook, dataset=hidden)]
    with pytest.raises(
        InputError, match=f'{hook}.dataset has the classes {classes[0]}, '
    ):
        train(config)
