"""tools/train.py trains and evaluates each baseline, on tiny images."""

from pathlib import Path

import numpy as np
import pytest
import torch
from dataset_files import write_image, write_xml
from mmdet.models.backbones import Darknet, ResNet
from mmdet.models.backbones.resnet import Bottleneck
from mmdet.visualization import DetLocalVisualizer
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.logging import MMLogger
from mmengine.registry import HOOKS
from tiny_run import call_script

from dsym.datasets import CLASSES

REPO = Path(__file__).parents[1]
CONFIGS = REPO / 'configs' / 'baselines'
LEAVES = sorted(CONFIGS.glob('*labeled20.py')) + sorted(CONFIGS.glob('soft*'))


@pytest.fixture
def neu_det(tmp_path):
    """NEU-DET's layout with one noise image a class."""
    root = tmp_path / 'NEU-DET'
    stems = []
    for label, name in enumerate(CLASSES):
        stem = f'{name}_1'
        write_image(root / f'IMAGES/{stem}.jpg', 64, 64, label)
        write_xml(
            root / f'ANNOTATIONS/{stem}.xml',
            [(name, (8, 8, 40, 56))],
            size=(64, 64),
        )
        stems.append(stem)
    split = root / 'all.txt'
    split.write_text('\n'.join(stems))
    yield root, split
    for part in (MMLogger, DetLocalVisualizer):  # one for all trainings
        part._instance_dict.clear()


@HOOKS.register_module(force=True)
class StepHook(Hook):
    """Notes what the steps did, in the order of the trainings."""

    notes = []

    def before_train(self, runner):
        self.before = {
            name: p.detach().clone()
            for name, p in runner.model.named_parameters()
            if p.requires_grad
        }
        self.notes.append(self)

    def after_train_iter(
        self, runner, batch_idx, data_batch=None, outputs=None
    ):
        self.loss = outputs['loss'].item()
        self.steps = batch_idx + 1
        self.rate = runner.optim_wrapper.optimizer.param_groups[0]['lr']
        self.moved = sum(
            not torch.equal(p, self.before[name])
            for name, p in runner.model.named_parameters()
            if name in self.before
        )

    def after_val_epoch(self, runner, metrics=None):
        self.scores = [
            value
            for key, value in metrics.items()
            if key.endswith('defect/mAP_50')
        ]


def shrink(node, root, split):
    """Point every data set at the tiny folder and scale to 64 px."""
    if isinstance(node, dict):
        if node.get('type') == 'NEUDETDataset':
            node.update(data_root=str(root), split=str(split))
            node.update(verify_images=False)
        for key in ('scale', 'img_scale'):
            if key in node and node[key] == (224, 224):
                node[key] = (64, 64)
        if 'border' in node:
            node['border'] = (-32, -32)
        for value in node.values():
            shrink(value, root, split)
    elif isinstance(node, (list, tuple)):
        for value in node:
            shrink(value, root, split)


@pytest.fixture
def _short(monkeypatch):
    """One block a stage, as configs cannot ask mmdet's backbones for."""
    channels = ((32, 64), (64, 64), (64, 128), (128, 256), (256, 512))
    for settings, depth, short in (
        (Darknet.arch_settings, 53, ((1,) * 5, channels)),
        (ResNet.arch_settings, 50, (Bottleneck, (1,) * 4)),
    ):
        monkeypatch.setitem(settings, depth, short)


def divide(part, divisor, *keys):
    """Divide numbers of channels, or lists of them."""
    for key in keys:
        value = part[key]
        part[key] = (
            [each // divisor for each in value]
            if isinstance(value, list)
            else value // divisor
        )


def shorten(model):
    """One block a stage, a part of the channels and of the proposals.

    All widths that have to fit are divided by the same, so that those of the
    config have to fit, too.
    """
    backbone, neck = model.backbone, model.get('neck')
    if backbone.type == 'SwinTransformer':
        backbone.depths = [1, 1, 1, 1]  # of 2, 2, 18, 2
        divide(backbone, 2, 'num_heads')
        divide(backbone, 4, 'embed_dims')
        divide(neck, 4, 'in_channels')
    elif backbone.type == 'ResNet':
        backbone.base_channels = backbone.get('base_channels', 64) // 2
        divide(neck, 2, 'in_channels')
    elif backbone.type == 'Darknet':
        divide(neck, 2, 'in_channels', 'out_channels')
        divide(model.bbox_head, 2, 'in_channels', 'out_channels')
    if 'roi_head' in model:
        heads = model.roi_head.bbox_head
        for head in heads if isinstance(heads, list) else [heads]:
            divide(head, 16, 'fc_out_channels')
        model.train_cfg.rpn_proposal.max_per_img = 100  # of 1000 and more
        model.test_cfg.rpn.max_per_img = 100


@pytest.mark.usefixtures('_short')
@pytest.mark.parametrize('path', LEAVES, ids=lambda p: p.stem)
def test_step_and_evaluation(path, neu_det, tmp_path):
    config = Config.fromfile(path)
    for name in ('train', 'val', 'test'):  # torch waits 5 s for their end
        config[f'{name}_dataloader'].update(
            num_workers=0, persistent_workers=False
        )
    shrink(config._cfg_dict, *neu_det)
    shorten(config.model.get('detector', config.model))
    config.train_dataloader.batch_size = 4
    if 'soft-teacher' in path.stem:
        config.train_dataloader.sampler.batch_size = 4
        config.train_cfg.update(max_iters=1, val_interval=1)
    else:
        config.train_cfg.update(max_epochs=1, val_interval=1)
        config.train_dataloader.dataset.indices = list(range(4))
    rate = config.optim_wrapper.optimizer.lr
    config.custom_hooks.append(dict(type='StepHook'))
    # mmengine keeps a default scope for each file name and second.
    small, work = tmp_path / path.name, tmp_path / 'work'
    config.dump(small)
    StepHook.notes.clear()
    done = call_script(REPO / 'tools/train.py', small, '--work-dir', work)
    assert not done.returncode, done.stderr
    (hook,) = StepHook.notes
    assert np.isfinite(hook.loss) and hook.loss > 0
    assert hook.steps == 1
    assert 0 < hook.rate < 0.2 * rate  # its schedule's warm-up
    # The teacher of a semi-supervised model is frozen and not among these.
    # Layers behind a zero, such as TOOD's offsets, have no gradient at first.
    assert hook.moved > 0.6 * len(hook.before)
    assert list(work.glob('*_1.pth'))
    assert hook.scores and all(0 <= score <= 1 for score in hook.scores)
