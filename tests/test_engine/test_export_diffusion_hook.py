"""ExportDiffusionHook: the folder has the weights that the checkpoint has."""

import pytest
import torch
from diffusers import UNet2DConditionModel
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from tiny_diffusion import CLASSES, ENCODER, UNET, coco_steel

from dsym.diffusion import DiffusionPainter, load_diffusion
from dsym.diffusion.pretrained import diffusion_settings
from dsym.errors import InputError

KEYS = ('unet.conv_in.weight', 'condition_encoder.embedding.weight')
MODEL = dict(
    type='ConditionalDiffusion',
    unet=UNET,
    condition_encoder=dict(ENCODER, num_classes=2),
)


class Weights(Hook):
    """All weights after every step."""

    def __init__(self):
        self.steps = []

    def after_train_iter(self, runner, *args, **kwargs):
        state = runner.model.state_dict()
        self.steps.append({key: x.clone() for key, x in state.items()})


def train(folder, *hooks, model=MODEL, windows=None, **options):
    """Two steps on six windows, and a checkpoint after them."""
    runner = Runner(
        model=model,
        work_dir=str(folder),
        train_dataloader=dict(
            batch_size=3,
            num_workers=0,
            collate_fn=dict(type='pseudo_collate'),
            sampler=dict(type='DefaultSampler', shuffle=False),
            dataset={
                **dict(
                    type='DefectWindowDataset',
                    dataset=coco_steel(folder / 'steel', pipeline=[]),
                    size=16,
                    context=(1.3, 1.9),
                    min_side=24,
                    balance=False,
                    clean=0.5,
                ),
                **(windows or {}),
            },
        ),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=1.0)),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1)),
        custom_hooks=[*hooks, dict(type='ExportDiffusionHook', **options)],
        experiment_name=folder.name,
    )
    weights = Weights()
    runner.register_hook(weights)
    runner.train()
    assert len(weights.steps) == 2
    return runner, weights.steps


def test_export__is_the_average(tmp_path):
    ema = dict(
        type='EMAHook', ema_type='ExponentialMovingAverage', momentum=0.25
    )
    runner, (first, second) = train(tmp_path, ema)
    exported = load_diffusion(tmp_path / 'diffusion').state_dict()
    checkpoint = torch.load(tmp_path / 'epoch_1.pth', weights_only=False)
    assert exported.keys() == first.keys()
    for key, value in exported.items():
        # mmengine's average begins as the weights after the first step
        average = 0.75 * first[key] + 0.25 * second[key]
        torch.testing.assert_close(value, average, rtol=1e-3, atol=1e-6)
        saved = checkpoint['state_dict'][key]
        assert torch.equal(value, saved.half().float())
    for key in KEYS:
        assert not torch.equal(first[key], second[key])
        # the run goes on with its own weights
        assert torch.equal(runner.model.state_dict()[key], second[key])
    peer = UNet2DConditionModel.from_pretrained(tmp_path / 'diffusion/unet')
    found = peer.conv_in.weight.float()
    assert torch.equal(found, exported['unet.conv_in.weight'])
    settings = diffusion_settings(tmp_path / 'diffusion')
    assert settings['clean'] == 0.5


def test_export__knows_classes_and_windows(tmp_path):
    out_dir = tmp_path / 'elsewhere'
    _, steps = train(tmp_path, out_dir=str(out_dir), half=False)
    assert not (tmp_path / 'diffusion').exists()
    settings = diffusion_settings(out_dir)
    assert settings['classes'] == [*CLASSES]
    assert (settings['context'], settings['min_side']) == ([1.3, 1.9], 24)
    painter = DiffusionPainter(str(out_dir), CLASSES)
    assert (painter.size, painter.min_side) == (16, 24)
    for key, value in load_diffusion(out_dir).state_dict().items():
        assert torch.equal(value, steps[-1][key])


class OneWeight(BaseModel):
    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(()))

    def forward(self, inputs, labels, boxes, mode='loss'):
        return dict(loss=self.weight**2)


def test_another_model__is_refused(tmp_path):
    with pytest.raises(InputError, match='OneWeight is no Conditional'):
        train(tmp_path, model=OneWeight())


@pytest.mark.parametrize(
    ('model', 'windows', 'message'),
    [
        (
            dict(condition_encoder=dict(ENCODER, num_classes=6)),
            {},
            'condition_encoder.num_classes is 6, but the windows of '
            'train_dataloader have 2 classes (dark-spot, bright-line)',
        ),
        (
            {},
            dict(image_channels=3),
            'image_channels is 1, but the windows of train_dataloader have 3',
        ),
        (
            dict(patch=2),
            {},
            'unet.sample_size * model.patch is 32, but the windows of '
            'train_dataloader have 16 px',
        ),
    ],
)
def test_mismatch__is_refused_before_training(
    tmp_path, model, windows, message
):
    with pytest.raises(InputError) as error:
        train(tmp_path, model={**MODEL, **model}, windows=windows)
    assert f'model.{message}' in str(error.value)
    assert not [*tmp_path.glob('*.pth')]
