"""The commands of docs/scaling.md: configs load, steps are as it says."""

import argparse
import inspect
import math
import re
import shlex
from pathlib import Path

import pytest
from mmengine.config import Config, DictAction
from mmyolo.models.detectors import YOLODetector

from dsym.datasets.split_lists import find_split, read_list

REPO = Path(__file__).resolve().parents[1]
PAGE = REPO / 'docs' / 'scaling.md'


def commands():
    """Trainings of the page: processes, config with its options, options."""
    block = re.findall(r'```bash\n(.*?)```', PAGE.read_text(), re.S)[-1]
    text = block.replace('\\\n', ' ')
    config = re.search(r'^CONFIG=(\S+)$', text, re.M)[1]
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    found = []
    for line in text.splitlines():
        if 'train' not in line or line.startswith(('#', 'CONFIG=')):
            continue
        words = shlex.split(line.replace('$CONFIG', config))
        assert (REPO / next(x for x in words if 'tools/' in x)).is_file()
        if words[0].endswith('dist_train.sh'):
            processes = int(words[words.index(config) + 1])
        elif words[0] == 'torchrun':
            each = words[words.index('--nproc_per_node') + 1]
            processes = int(words[words.index('--nnodes') + 1]) * int(each)
        else:
            tasks = [x for x in words if x.startswith('--ntasks=')]
            processes = int(tasks[0].split('=')[1])
        options = parser.parse_known_args(words)[0].cfg_options
        found.append((processes, REPO / config, options))
    return found


def steps(config, processes):
    """Optimizer steps of phase 1 and of phase 2."""
    loop = config.train_cfg
    images = [
        len(read_list(find_split(x.dataset.split)))
        for x in (config.train_dataloader, loop.unlabeled_dataloader)
    ]
    batches = [
        config.train_dataloader.batch_size,
        loop.unlabeled_dataloader.batch_size,
    ]
    epochs = loop.burn_in_epochs, loop.max_epochs - loop.burn_in_epochs
    # samplers give every process as many images, loaders keep the last batch
    return [
        number * math.ceil(math.ceil(count / processes) / batch)
        for number, count, batch in zip(epochs, images, batches)
    ]


def test_commands__are_all_found():
    assert [x[0] for x in commands()] == [8, 8, 16, 16]


@pytest.mark.parametrize('place', range(4))
def test_command__changes_known_keys_and_keeps_the_steps(place):
    processes, path, options = commands()[place]
    config = Config.fromfile(path)
    assert steps(config, 1) == [1050, 810]
    for key in options:
        part = config
        for name in key.split('.'):  # fails for a key that is not there
            part = part[int(name) if isinstance(part, list) else name]
    config.merge_from_dict(options)
    longer = 'train_cfg.max_epochs' in options
    assert steps(config, processes) == ([1200, 880] if longer else [1050, 810])
    if longer:
        (close,) = [
            x for x in config.custom_hooks if x['type'] == 'CloseMosaicHook'
        ]
        assert close['num_last_epochs'] == 3 * 8
        assert config.optim_wrapper.optimizer.lr <= 2e-3 * math.sqrt(8)


def test_batch_norm__of_all_processes_unless_the_named_key_says_no():
    """The key reaches mmyolo's detector, whose default the page tells."""
    named = inspect.signature(YOLODetector).parameters['use_syncbn']
    assert named.default is True
    config = Config.fromfile(commands()[0][1])
    assert config.model.detector.type == 'mmyolo.YOLODetector'
    assert 'use_syncbn' not in config.model.detector
    for page in ('README.md', 'docs/compat.md', 'docs/scaling.md'):
        text = (REPO / page).read_text()
        assert 'model.detector.use_syncbn=False' in text, page
