"""Loading and saving: what open_clip itself loads, what is refused."""

import copy
import json
import shutil

import open_clip
import pytest
import torch
from huggingface_hub import constants
from tiny_clip import RESNET, SIZE, VIT, tiny_clip
from torchvision.transforms import Normalize

from dsym.clip import build_clip, check_clip, load_clip, save_clip
from dsym.clip.models import CONFIG, SETTINGS, WEIGHTS
from dsym.errors import InputError, MissingFileError

HUB_NAME = 'hf-hub:laion/CLIP-ViT-B-32-laion2B-s34B-b79K'


@pytest.fixture
def offline(monkeypatch):
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)


@pytest.fixture
def tiny_name(monkeypatch):
    """A name that open_clip knows, of the tiny ViT."""
    monkeypatch.setitem(
        open_clip.factory._MODEL_CONFIGS, 'tiny-vit', copy.deepcopy(VIT)
    )
    return 'tiny-vit'


def assert_one_line(error, *parts):
    text = str(error.value)
    assert '\n' not in text
    for part in parts:
        assert part in text, text


@torch.no_grad()
@pytest.mark.parametrize('tower', ['resnet', 'vit'])
@pytest.mark.parametrize('half', [True, False])
def test_saved_folder__open_clip_loads(request, tmp_path, tower, half):
    clip = request.getfixturevalue(tower)
    save_clip(clip, tmp_path / 'clip', half)
    name = f'local-dir:{tmp_path / "clip"}'
    peer = open_clip.create_model(name).eval()
    tokens = open_clip.get_tokenizer(name)(['a scratched plate', 'steel'])
    assert tokens.shape == (2, 24)
    assert torch.equal(clip.tokenizer(['a scratched plate', 'steel']), tokens)
    images = torch.randn(2, 3, SIZE, SIZE)
    tolerance = dict(rtol=2e-2, atol=2e-2) if half else {}
    for found, expected in (
        (peer.encode_image(images), clip.model.encode_image(images)),
        (peer.encode_text(tokens), clip.model.encode_text(tokens)),
    ):
        torch.testing.assert_close(found, expected, **tolerance)
    size = (tmp_path / 'clip' / WEIGHTS).stat().st_size
    weights = sum(x.numel() for x in clip.model.state_dict().values())
    assert size == pytest.approx(weights * (2 if half else 4), rel=0.05)


def test_load__settings_and_weights_come_back(tmp_path):
    clip = tiny_clip()
    clip.settings = dict(regions=dict(way='dense', image_size=96))
    save_clip(clip, tmp_path, half=False)
    for name in (str(tmp_path), f'local-dir:{tmp_path}'):
        again = load_clip(name)
        assert again.settings == clip.settings
        assert again.fingerprint() == clip.fingerprint()
        assert again.size == SIZE and not again.training
    (tmp_path / SETTINGS).unlink()
    assert load_clip(str(tmp_path)).settings == {}


def test_save__other_weights(tmp_path):
    clip, other = tiny_clip(), tiny_clip(seed=1)
    save_clip(clip, tmp_path, False, other.model.state_dict())
    assert load_clip(str(tmp_path)).fingerprint() == other.fingerprint()


def test_fingerprint__of_weights_of_every_type():
    clip, same = tiny_clip(), tiny_clip()
    assert clip.fingerprint() == same.fingerprint()
    assert len(clip.fingerprint()) == 16
    with torch.no_grad():
        same.model.logit_scale += 1e-3
    assert clip.fingerprint() != same.fingerprint()
    assert len(same.bfloat16().fingerprint()) == 16


def test_normalize__is_torchvisions():
    pixels = 255 * torch.rand(2, 3, 8, 8)
    preprocess = tiny_clip().model.visual.preprocess_cfg
    peer = Normalize(preprocess['mean'], preprocess['std'])
    torch.testing.assert_close(
        tiny_clip().normalize(pixels), peer(pixels / 255)
    )


def test_build__takes_preprocessing_and_leaves_the_config_alone():
    clip = dict(
        model_cfg=copy.deepcopy(RESNET),
        preprocess_cfg=dict(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25)),
    )
    built = load_clip(clip)
    assert clip['model_cfg'] == RESNET
    assert built.model.visual.preprocess_cfg['size'] == SIZE
    white = built.normalize(torch.full((3, 2, 2), 255.0))
    torch.testing.assert_close(white, torch.full((3, 2, 2), 2.0))


@pytest.mark.parametrize(
    'model, pretrained, parts',
    [
        ('ViT-B-33', 'openai', ["'ViT-B-33'", 'did you mean', 'ViT-B-32']),
        ('steel', None, ['open_clip.list_models()']),
        ('ViT-B-32', None, ['without pretrained', 'openai']),
        (
            'ViT-B-32',
            'laion2b_s34b',
            ["'laion2b_s34b'", 'did you mean', 'laion2b_s34b_b79k'],
        ),
        ('ViT-B-32', '/no/file.pt', ["'/no/file.pt'", 'give one of openai']),
        ('local-dir:/no/folder', None, [f'/no/folder/{CONFIG}']),
    ],
)
def test_unknown_model__says_what_to_give(model, pretrained, parts):
    for look in (check_clip, load_clip):
        with pytest.raises(InputError) as error:
            look(model, pretrained)
        assert_one_line(error, *parts)


@pytest.mark.parametrize('name', [CONFIG, WEIGHTS])
def test_folder_without_a_file__names_it(tmp_path, resnet, name):
    save_clip(resnet, tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(MissingFileError) as error:
        check_clip(str(tmp_path))
    assert_one_line(error, str(tmp_path / name), 'ExportCLIPHook')


def test_checkpoint_file__of_a_name(tmp_path, tiny_name, vit):
    save_clip(vit, tmp_path, half=False)
    loaded = load_clip(tiny_name, str(tmp_path / WEIGHTS))
    assert loaded.fingerprint() == vit.fingerprint()
    assert loaded.model_cfg == VIT


@torch.no_grad()
def test_tag__brings_its_activation(tmp_path, tiny_name, monkeypatch):
    quick = {**VIT, 'quick_gelu': True}
    trained = tiny_clip(quick)
    save_clip(trained, tmp_path, half=False)
    tag = dict(file=str(tmp_path / WEIGHTS), quick_gelu=True)
    tags = {'trained': tag, 'other': dict(tag, quick_gelu=False)}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, tiny_name, tags)
    tokens = trained.tokenizer(['a scratched plate'])
    images = torch.randn(2, 3, SIZE, SIZE)

    def outputs(clip):
        return torch.cat(
            [clip.model.encode_image(images), clip.model.encode_text(tokens)]
        )

    loaded = load_clip(tiny_name, 'trained')
    assert torch.equal(outputs(loaded), outputs(trained))
    assert loaded.model_cfg == quick
    other = load_clip(tiny_name, 'other')
    assert not torch.allclose(outputs(other), outputs(trained))
    assert other.model_cfg == VIT
    # and what is fine-tuned keeps it
    save_clip(loaded, tmp_path / 'again', half=False)
    again = load_clip(str(tmp_path / 'again'))
    assert torch.equal(outputs(again), outputs(trained))


def test_weights_of_another_tower__are_refused(
    tmp_path, tiny_name, resnet, vit
):
    save_clip(vit, tmp_path / 'vit')
    save_clip(resnet, tmp_path / 'resnet')
    weights = tmp_path / 'resnet' / WEIGHTS
    with pytest.raises(InputError) as error:
        load_clip(tiny_name, str(weights))
    assert_one_line(error, str(weights), 'another tower than tiny-vit')
    shutil.copy(weights, tmp_path / 'vit' / WEIGHTS)
    with pytest.raises(InputError) as error:
        load_clip(str(tmp_path / 'vit'))
    assert_one_line(error, str(tmp_path / 'vit'), 'another tower')


@pytest.mark.parametrize('content', [b'', b'no weights at all' * 20])
@pytest.mark.parametrize('name', [WEIGHTS, 'weights.pt'])
def test_damaged_weights__are_named(tmp_path, tiny_name, vit, name, content):
    save_clip(vit, tmp_path)
    (tmp_path / name).write_bytes(content)
    args = [(tiny_name, str(tmp_path / name))]
    if name == WEIGHTS:
        args.append((str(tmp_path),))
    for names in args:
        with pytest.raises(InputError) as error:
            load_clip(*names)
        assert_one_line(error, names[-1], 'cannot be loaded')


@pytest.mark.parametrize('name', [CONFIG, SETTINGS])
def test_damaged_json__is_named(tmp_path, resnet, name):
    save_clip(resnet, tmp_path)
    (tmp_path / name).write_text('{"model_cfg": ')
    with pytest.raises(InputError) as error:
        load_clip(str(tmp_path))
    assert_one_line(error, str(tmp_path))


@pytest.mark.parametrize(
    'model, pretrained, repo',
    [
        (HUB_NAME, None, HUB_NAME[len('hf-hub:') :]),
        ('ViT-B-32', 'laion2b_s34b_b79k', HUB_NAME[len('hf-hub:') :]),
        # whose file alone does not tell the activation
        ('ViT-B-32', 'openai', 'clip=ViT-B-32-quickgelu'),
    ],
)
def test_no_network__says_which_file_to_put_where(
    offline, tmp_path, model, pretrained, repo
):
    check_clip(model, pretrained)
    with pytest.raises(InputError) as error:
        load_clip(model, pretrained, str(tmp_path))
    assert_one_line(error, repo, WEIGHTS, str(tmp_path))
    # a hub's model takes no weights of another place, a folder does
    remedy = 'pretrained=' if pretrained else CONFIG
    assert_one_line(error, remedy)


def test_hub_copied_from_elsewhere__loads(offline, tmp_path, warnings):
    commit = '0' * 40
    repo = tmp_path / 'models--steel--tiny'
    clip = tiny_clip()
    clip.settings = dict(regions=dict(way='dense', image_size=96))
    folder = repo / 'snapshots' / commit
    save_clip(clip, folder, half=False)
    (repo / 'refs').mkdir()
    (repo / 'refs' / 'main').write_text(commit)
    name, place = 'hf-hub:steel/tiny', str(tmp_path)
    loaded = load_clip(name, cache_dir=place)
    assert loaded.fingerprint() == clip.fingerprint()
    assert loaded.model_cfg == json.loads(json.dumps(RESNET))
    assert loaded.settings == clip.settings
    assert not [x for x in warnings() if SETTINGS in x]
    # a model of somebody else, or half of a copy: nobody can tell
    (folder / SETTINGS).unlink()
    assert load_clip(name, cache_dir=place).settings == {}
    (line,) = [x for x in warnings() if SETTINGS in x]
    assert 'steel/tiny' in line


def test_build__is_a_dict_of_load(resnet):
    torch.manual_seed(0)
    built = build_clip(dict(model_cfg=RESNET))
    assert built.fingerprint() == resnet.fingerprint()
