"""Saving and loading: what diffusers itself loads, what is refused."""

import json

import pytest
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from safetensors.torch import load_file
from tiny_diffusion import CLASSES, tiny_diffusion

from dsym.diffusion import load_diffusion, save_diffusion
from dsym.diffusion.pretrained import (
    ENCODER_WEIGHTS,
    SETTINGS,
    diffusion_settings,
)
from dsym.errors import InputError, MissingFileError

UNET_WEIGHTS = 'unet/diffusion_pytorch_model.safetensors'


@pytest.fixture(scope='module')
def model():
    return tiny_diffusion(
        2, scheduler=dict(prediction_type='v_prediction')
    ).eval()


def paint(model, size=16):
    return model.paint(
        torch.zeros(1, 1, size, size),
        [torch.tensor([1])],
        [torch.tensor([[0.25, 0.25, 0.75, 0.75]])],
        num_steps=2,
        noise=torch.linspace(-2, 2, size**2).view(1, 1, size, size),
    )


@pytest.mark.parametrize('half', [True, False])
def test_saved_folder__diffusers_and_load_have_the_weights(
    model, tmp_path, half
):
    save_diffusion(model, tmp_path, half=half)
    unet = UNet2DConditionModel.from_pretrained(tmp_path / 'unet')
    DDIMScheduler.from_pretrained(tmp_path / 'scheduler')
    again = load_diffusion(tmp_path)
    assert not again.training
    loaded = again.state_dict()
    assert loaded.keys() == model.state_dict().keys()
    for key, value in model.state_dict().items():
        expected = value.half().float() if half else value
        assert loaded[key].dtype == torch.float32
        assert torch.equal(loaded[key], expected), key
        if key.startswith('unet.'):
            theirs = unet.state_dict()[key.removeprefix('unet.')]
            assert torch.equal(theirs.float(), expected)
    saved = {
        **load_file(tmp_path / UNET_WEIGHTS),
        **load_file(tmp_path / ENCODER_WEIGHTS),
    }
    dtype = torch.float16 if half else torch.float32
    assert {x.dtype for x in saved.values()} == {dtype}
    if not half:
        assert torch.equal(paint(model), paint(again))


def test_settings__come_back(model, tmp_path):
    save_diffusion(model, tmp_path, CLASSES, (1.1, 1.8), min_side=112)
    assert diffusion_settings(tmp_path) == dict(
        condition_encoder=dict(
            type='DefectConditionEncoder',
            num_classes=2,
            dims=16,
            num_heads=4,
            mask_size=32,
        ),
        patch=1,
        contrast=None,
        sigma_data=None,
        classes=[*CLASSES],
        context=[1.1, 1.8],
        min_side=112,
        clean=None,
    )
    scheduler = load_diffusion(tmp_path).scheduler
    assert scheduler.config.prediction_type == 'v_prediction'
    assert scheduler.config.beta_schedule == 'squaredcos_cap_v2'


def test_patch__comes_back(tmp_path):
    model = tiny_diffusion(2, patch=2, image_channels=3).eval()
    save_diffusion(model, tmp_path)
    again = load_diffusion(tmp_path)
    assert (again.patch, again.image_channels, again.size) == (2, 3, 32)


def test_contrast_and_sigma_data__come_back(tmp_path):
    model = tiny_diffusion(
        2,
        contrast=0.25,
        sigma_data=0.5,
        scheduler=dict(prediction_type='v_prediction'),
    ).eval()
    save_diffusion(model, tmp_path)
    again = load_diffusion(tmp_path)
    assert (again.contrast, again.sigma_data) == (0.25, 0.5)
    assert torch.equal(paint(model), paint(again))


def test_save__other_weights(model, tmp_path):
    other = tiny_diffusion(2, seed=1)
    save_diffusion(model, tmp_path, state_dict=other.state_dict())
    for key, value in load_diffusion(tmp_path).state_dict().items():
        assert torch.equal(value, other.state_dict()[key])
    # the model itself has kept its own
    assert not torch.equal(
        model.unet.conv_in.weight, other.unet.conv_in.weight
    )


def test_no_model_in_a_folder(tmp_path):
    with pytest.raises(MissingFileError) as error:
        load_diffusion(tmp_path)
    for part in (str(tmp_path), SETTINGS, 'ExportDiffusionHook'):
        assert part in str(error.value)


@pytest.mark.parametrize(
    'name, part',
    [
        ('unet/config.json', 'unet'),
        (UNET_WEIGHTS, 'unet'),
        ('scheduler/scheduler_config.json', 'scheduler'),
        (ENCODER_WEIGHTS, ENCODER_WEIGHTS),
    ],
)
@pytest.mark.parametrize('content', [None, b'', b'{"no weights at all'])
def test_file__missing_or_damaged_is_named(
    model, tmp_path, name, part, content
):
    save_diffusion(model, tmp_path)
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError) as error:
        load_diffusion(tmp_path)
    text = str(error.value)
    assert '\n' not in text
    assert str(tmp_path) in text and part in text.replace(str(tmp_path), '')


@pytest.mark.parametrize('content', ['{"classes": ', '[]', '{"patch": 1}'])
def test_settings__damaged_are_named(model, tmp_path, content):
    save_diffusion(model, tmp_path)
    (tmp_path / SETTINGS).write_text(content)
    for read in (diffusion_settings, load_diffusion):
        with pytest.raises(InputError) as error:
            read(tmp_path)
        assert str(tmp_path / SETTINGS) in str(error.value)


def test_encoder__of_another_model_is_refused(model, tmp_path):
    save_diffusion(model, tmp_path)
    settings = diffusion_settings(tmp_path)
    settings['condition_encoder']['num_classes'] = 5
    (tmp_path / SETTINGS).write_text(json.dumps(settings))
    with pytest.raises(InputError, match='embedding'):
        load_diffusion(tmp_path)
