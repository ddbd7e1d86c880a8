"""ExportCLIPHook: the folder has the weights that the checkpoint has."""

import open_clip
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.structures import InstanceData
from tiny_clip import RESNET, SIZE

from dsym.clip import load_clip

KEY = 'clip.model.visual.conv1.weight'
CLASSES = ('crazing', 'scratches')


class Weights(Hook):
    """One layer after every step."""

    def __init__(self):
        self.steps = []

    def after_train_iter(self, runner, *args, **kwargs):
        self.steps.append(runner.model.state_dict()[KEY].clone())


def image(seed):
    generator = torch.Generator().manual_seed(seed)
    sample = DetDataSample(metainfo=dict(img_id=seed, img_shape=(SIZE, SIZE)))
    sample.gt_instances = InstanceData(
        bboxes=torch.tensor([[8.0, 8, 40, 36]]), labels=torch.tensor([1])
    )
    pixels = torch.randint(0, 256, (3, SIZE, SIZE), generator=generator)
    return dict(inputs=pixels.byte(), data_samples=sample)


def train(folder, *hooks, **options):
    """Two steps, and a checkpoint after them."""
    runner = Runner(
        model=dict(
            type='CLIPGrader',
            clip=dict(model_cfg=RESNET),
            classes=CLASSES,
            prompts=dict(
                misplaced=('a part of {defect_type}',), normal=('steel',)
            ),
            regions=dict(way='dense', image_size=SIZE),
        ),
        work_dir=str(folder),
        train_dataloader=dict(
            batch_size=2,
            num_workers=0,
            collate_fn=dict(type='pseudo_collate'),
            sampler=dict(type='DefaultSampler', shuffle=False),
            dataset=[image(i) for i in range(4)],
        ),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1)),
        custom_hooks=[*hooks, dict(type='ExportCLIPHook', **options)],
        experiment_name=folder.name,
    )
    weights = Weights()
    runner.register_hook(weights)
    runner.train()
    return runner, weights.steps


def test_export__is_the_average_that_open_clip_loads(tmp_path):
    ema = dict(
        type='EMAHook',
        ema_type='ExponentialMovingAverage',
        momentum=0.25,
        update_buffers=True,
    )
    runner, (first, second) = train(tmp_path, ema, half=False)
    exported = load_clip(str(tmp_path / 'clip'))
    found = exported.model.visual.conv1.weight
    # mmengine's average begins as the weights after the first step
    torch.testing.assert_close(found.data, 0.75 * first + 0.25 * second)
    assert not torch.equal(first, second)

    checkpoint = torch.load(tmp_path / 'epoch_1.pth', weights_only=False)
    for key, value in exported.model.state_dict().items():
        torch.testing.assert_close(
            value, checkpoint['state_dict'][f'clip.model.{key}']
        )
    peer = open_clip.create_model(f'local-dir:{tmp_path / "clip"}').eval()
    images = torch.randn(1, 3, SIZE, SIZE)
    torch.testing.assert_close(
        peer.encode_image(images), exported.model.encode_image(images)
    )
    assert exported.settings['prompts']['classes'] == [*CLASSES]
    assert exported.settings['regions']['way'] == 'dense'
    # the run goes on with its own weights
    torch.testing.assert_close(runner.model.state_dict()[KEY], second)


@pytest.mark.parametrize('half', [True, False])
def test_without_average__the_models_own_weights(tmp_path, half):
    out_dir = str(tmp_path / 'elsewhere')
    _, steps = train(tmp_path, out_dir=out_dir, half=half)
    found = load_clip(out_dir).model.visual.conv1.weight.data
    expected = steps[-1].half().float() if half else steps[-1]
    assert torch.equal(found, expected)
    assert not (tmp_path / 'clip').exists()
