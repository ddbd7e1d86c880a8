"""The official code trains on the data and the plan of a config of ours."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from dataset_files import write_image, write_xml
from mmengine.config import Config
from peers.official_training import OfficialTraining, write_yolo_folder
from peers.official_yolov9 import find_official
from require_peer import require_peer
from tiny_run import call_script, write_config

ROOT = Path(__file__).parents[2]
CONFIG = (
    ROOT / 'configs/yolov9/yolov9-t_1xb16-120e-official_neu-det-labeled20.py'
)


@pytest.fixture
def train(tmp_path, monkeypatch):
    """Train on four images by the tool."""
    require_peer(find_official(), 'yolo9')
    monkeypatch.chdir(tmp_path)
    root = tmp_path / 'NEU-DET'
    for number in range(4):
        stem = f'scratches_{number}'
        write_image(root / f'IMAGES/{stem}.jpg', 64, 64, number)
        write_xml(
            root / f'ANNOTATIONS/{stem}.xml',
            [('scratches', (8, 16, 40, 56))],
            size=(64, 64),
        )
    split = tmp_path / 'split.txt'
    split.write_text('\n'.join(f'scratches_{i}' for i in range(4)))

    def train(epochs, work, *options):
        done = call_script(
            ROOT / 'tools/train_official_yolov9.py', CONFIG,
            '--work-dir', work, '--save-every', '1', *options,
            '--cfg-options', 'img_scale=(64,64)',
            f'train_dataloader.dataset.data_root={root}',
            f'train_dataloader.dataset.split={split}',
            'train_dataloader.batch_size=2',
            'train_dataloader.num_workers=0',
            f'train_cfg.max_epochs={epochs}',
            'custom_hooks.4.num_last_epochs=1',
        )  # fmt: skip
        assert not done.returncode, done.stderr

    return train


def test_links__lead_to_the_data_after_these_have_moved(tmp_path):
    (tmp_path / 'run').mkdir()
    config = Config.fromfile(write_config(tmp_path / 'run', ROOT / 'configs'))
    data = config.train_dataloader.dataset
    write_yolo_folder(config, tmp_path / 'work')
    moved = Path(data.data_root).rename(tmp_path / 'moved')
    data.data_root = str(moved)
    names, _ = write_yolo_folder(config, tmp_path / 'work')
    links = [Path(line) for line in names.read_text().splitlines()]
    assert len(links) == 8
    assert all(moved in link.resolve(strict=True).parents for link in links)


def test_two_epochs_by_the_tool(train, tmp_path):
    """Boxes as YOLO writes them; weights that move; going on; a budget."""
    work = tmp_path / 'work'
    train(1, work)
    (label,) = (work / 'data/labels/scratches_0.txt').read_text().splitlines()
    # class 5; centre (24, 36) and size (32, 40) of 64 px
    np.testing.assert_allclose(
        [float(x) for x in label.split()],
        [5, 24 / 64, 36 / 64, 32 / 64, 40 / 64],
        atol=1e-6,
    )
    first = torch.load(work / 'official.pt')
    train(2, work)
    second = torch.load(work / 'official.pt')
    plan = json.loads((work / 'official.json').read_text())
    assert (plan['epochs'], plan['steps'], plan['lr']) == (2, 4, 1e-3)
    assert plan['optimizer'] == 'AdamW' and plan['final'] == 0.05
    weights = [k for k in first if k.endswith('conv.weight')]
    assert len(weights) > 100
    assert all(not torch.equal(first[k], second[k]) for k in weights)

    # any step takes longer: the first is the last, whatever the plan
    train(2, tmp_path / 'short', '--minutes', '1e-9')
    plan = json.loads((tmp_path / 'short/official.json').read_text())
    assert plan['steps'] == 1 and plan['minutes'] > 1e-9
    assert plan['budget'] == dict(minutes=1e-9, planned_steps=4)
    assert (tmp_path / 'short/official.pt').exists()


def test_order_of_images__by_the_seed_and_after_a_resume(
    train, tmp_path, monkeypatch
):
    seen = []

    def look(self, epoch):
        seen.append([path for batch in self.loader for path in batch[2]])
        return 0.0

    monkeypatch.setattr(OfficialTraining, 'run_epoch', look)

    def order(work, seed, epochs):
        seen.clear()
        train(epochs, tmp_path / work, '--seed', str(seed))
        return [[Path(path).stem for path in epoch] for epoch in seen]

    whole = order('whole', 1, 4)
    assert len({tuple(epoch) for epoch in whole}) > 1
    assert order('killed', 1, 2) == whole[:2] != order('other', 2, 2)
    assert order('killed', 1, 4) == whole[2:]
