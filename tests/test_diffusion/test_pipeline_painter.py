"""PipelinePainter: a random Stable Diffusion of a few thousand weights."""

import json

import numpy as np
import pytest
import torch
from diffusers import (
    AutoencoderKL,
    DDIMScheduler,
    StableDiffusionInpaintPipeline,
    UNet2DConditionModel,
)
from huggingface_hub import constants
from PIL import Image
from tiny_diffusion import CLASSES, UNET
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from dsym.diffusion import PipelinePainter
from dsym.diffusion.painters import CLEAN, Job
from dsym.errors import InputError

WORDS = 'a b c d e f g h i k l m n o p r s t u w y'.split()
SIZE = 32
BOX = np.array([0.25, 0.5, 0.75, 1.0], np.float32)


@pytest.fixture
def offline(monkeypatch):
    monkeypatch.setenv('HF_HUB_OFFLINE', '1')
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)


def write_tokenizer(folder):
    """A vocabulary of letters, without merges."""
    vocabulary = [*WORDS, *(f'{x}</w>' for x in WORDS)]
    vocabulary += ['<|startoftext|>', '<|endoftext|>']
    vocab, merges = folder / 'vocab.json', folder / 'merges.txt'
    vocab.write_text(json.dumps({x: i for i, x in enumerate(vocabulary)}))
    merges.write_text('#version: 0.2\n')
    return CLIPTokenizer.from_pretrained(folder, model_max_length=77)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    """A saved pipeline; windows of 32 px, latents of 16."""
    files = tmp_path_factory.mktemp('tokenizer')
    tokenizer = write_tokenizer(files)
    torch.manual_seed(0)
    blocks = dict(
        down_block_types=('DownEncoderBlock2D',) * 2,
        up_block_types=('UpDecoderBlock2D',) * 2,
    )
    pipeline = StableDiffusionInpaintPipeline(
        vae=AutoencoderKL(
            block_out_channels=(8, 8), norm_num_groups=4, **blocks
        ),
        text_encoder=CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(tokenizer),
                hidden_size=16,
                intermediate_size=16,
                num_hidden_layers=1,
                num_attention_heads=2,
                max_position_embeddings=77,
                bos_token_id=tokenizer.bos_token_id,
                eos_token_id=tokenizer.eos_token_id,
            )
        ),
        tokenizer=tokenizer,
        # latents, the mask, latents of what is around it
        unet=UNet2DConditionModel(
            in_channels=9, out_channels=4, cross_attention_dim=16, **UNET
        ),
        scheduler=DDIMScheduler(steps_offset=1),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )
    target = tmp_path_factory.mktemp('pipeline')
    pipeline.save_pretrained(target)
    return str(target)


def build(folder, **options):
    return PipelinePainter(folder, CLASSES, size=SIZE, num_steps=2, **options)


def job(label, seed, channels=1):
    rng = np.random.default_rng(seed)
    window = rng.integers(0, 256, (SIZE, SIZE, channels), np.uint8)
    return Job(window, BOX, label, seed)


def test_paint__is_the_pipelines(folder):
    painted = build(folder).paint([job(1, 3), job(CLEAN, 4)])
    pipeline = StableDiffusionInpaintPipeline.from_pretrained(folder)
    mask = np.zeros((SIZE, SIZE), np.uint8)
    mask[16:, 8:24] = 255
    for found, x, prompt in (
        (painted[0], job(1, 3), 'bright line defect'),
        (painted[1], job(CLEAN, 4), None),
    ):
        steel = 'a greyscale photo of a steel surface with a '
        expected = pipeline(
            steel + prompt
            if prompt
            else 'a greyscale photo of a clean steel surface',
            Image.fromarray(x.window.repeat(3, 2)),
            Image.fromarray(mask),
            height=SIZE,
            width=SIZE,
            num_inference_steps=2,
            generator=torch.Generator().manual_seed(x.seed),
            output_type='np',
        ).images[0]
        assert found.shape == (SIZE, SIZE, 1) and found.dtype == np.uint8
        grey = 255 * expected.mean(2, keepdims=True)
        assert np.abs(found - grey).max() < 1.5


def test_paint__a_seed_gives_the_same_in_any_batch(folder):
    jobs = [job(0, 1), job(1, 2), job(0, 1)._replace(seed=5)]
    first = build(folder, batch_size=1).paint(jobs)
    second = build(folder, batch_size=3).paint(jobs)
    assert np.abs(np.stack(first).astype(int) - np.stack(second)).max() <= 1
    assert not np.array_equal(first[0], first[2])
    # and another class is another prompt
    (other,) = build(folder).paint([jobs[0]._replace(label=1)])
    assert not np.array_equal(first[0], other)


def test_rgb__three_channels(folder):
    painter = build(folder, channels=3)
    (painted,) = painter.paint([job(0, 1, 3)])
    assert painted.shape == (SIZE, SIZE, 3)
    assert not np.array_equal(painted[..., 0], painted[..., 1])


def test_prompts__by_class_and_words(folder):
    painter = build(folder)
    assert painter.prompts[0].endswith('with a dark spot defect')
    painter = build(folder, prompt='a {defect_type}', words={CLASSES[1]: 'x'})
    assert painter.prompts == ['a dark spot', 'a x']
    of_class = {CLASSES[0]: 'one {defect_type}', CLASSES[1]: 'two'}
    assert build(folder, prompt=of_class).prompts == ['one dark spot', 'two']


def test_unknown_word__is_refused(folder):
    with pytest.raises(InputError, match=r'rust is no class.*dark-spot') as e:
        build(folder, words=dict(rust='iron oxide'))
    assert '\n' not in str(e.value)


def test_prompt__missing_for_a_class_is_refused(folder):
    with pytest.raises(InputError, match='none for bright-line'):
        build(folder, prompt={CLASSES[0]: 'one'})


def test_folder__that_is_no_pipeline_is_refused(tmp_path):
    (tmp_path / 'weights.bin').write_bytes(b'x')
    with pytest.raises(InputError) as error:
        build(str(tmp_path))
    for part in (str(tmp_path), 'no inpainting pipeline', 'save_pretrained'):
        assert part in str(error.value)


@pytest.mark.usefixtures('offline')
def test_name_without_network__says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as error:
        build('steel/no-such-pipeline')
    for part in ('steel/no-such-pipeline', 'downloaded', 'give the folder'):
        assert part in str(error.value)
    assert '\n' not in str(error.value)
