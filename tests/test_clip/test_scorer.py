"""CLIPScorer: every score computed by hand with open_clip's own encoders."""

import copy
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from tiny_clip import SIZE, VIT, pixels_of, tiny_clip
from torch.nn import functional as F
from torchvision.transforms import Normalize
from torchvision.transforms.functional import resize

from dsym.clip import Prompts, RegionSettings
from dsym.clip.regions import image_parts
from dsym.clip.scorer import CLIPScorer, background_parts
from dsym.errors import InputError

CLASSES = ('crazing', 'scratches')
PAPER = Prompts(CLASSES)
FULL = Prompts(
    CLASSES,
    misplaced=('a part of {defect_type}',),
    normal=('flawless steel', 'clean steel'),
)
SHAPES = [(96, 80)] * 3
SQUARE = torch.tensor([[8.0, 16, 72, 80]])  # 64 px, as the towers see
CLOSE = dict(rtol=1e-4, atol=1e-5)
CLOSE_16 = dict(rtol=5e-3, atol=2e-3)  # what was cached as float16


@pytest.fixture
def make(tmp_path, resnet):
    def scorer(clip=resnet, prompts=FULL, mode='softmax', **regions):
        settings = RegionSettings(
            **{'way': 'crops', 'image_size': SIZE, 'expand': (1.0,), **regions}
        )
        return CLIPScorer(
            clip, prompts, settings, mode, str(tmp_path), batch_size=2
        )

    return scorer


@torch.no_grad()
def embed(clip, images):
    """Embed images ``(N, 3, 64, 64)`` by open_clip and torchvision alone."""
    preprocess = clip.model.visual.preprocess_cfg
    normalize = Normalize(preprocess['mean'], preprocess['std'])
    return clip.model.encode_image(normalize(images / 255), normalize=True)


@torch.no_grad()
def cosines(clip, embedded, prompts):
    """Of embeddings ``(N, D)`` with every group of texts."""
    columns = []
    for texts in prompts.groups:
        text = clip.model.encode_text(clip.tokenizer(texts), normalize=True)
        columns.append(embedded @ F.normalize(text.mean(0), dim=0))
    return torch.stack(columns, 1)


def squares(paths):
    return torch.stack([pixels_of(x)[:, 16:80, 8:72] for x in paths])


@pytest.mark.parametrize('tower', ['resnet', 'vit'])
def test_eq_18__is_open_clips_cosine(request, make, image_paths, tower):
    clip = request.getfixturevalue(tower)
    scorer = make(clip, PAPER, 'cosine')
    whole = torch.stack(
        [
            resize(pixels_of(x), [SIZE, SIZE], antialias=True)
            for x in image_paths
        ]
    )
    expected = cosines(clip, embed(clip, whole), PAPER)
    found = scorer.image_scores(image_paths, SHAPES)
    torch.testing.assert_close(found, expected.amax(1), **CLOSE_16)
    boxes = scorer.region_scores(image_paths, [SQUARE] * 3, SHAPES)
    expected = cosines(clip, embed(clip, squares(image_paths)), PAPER)
    torch.testing.assert_close(torch.cat(boxes), expected, **CLOSE)


@pytest.mark.parametrize('tower', ['resnet', 'vit'])
def test_softmax__share_of_all_prompts(request, make, image_paths, tower):
    clip = request.getfixturevalue(tower)
    scorer = make(clip)
    embedded = embed(clip, squares(image_paths))
    similar = cosines(clip, embedded, FULL)
    assert similar.shape == (3, 5)  # two defects, two parts of them, none
    shares = (clip.model.logit_scale.exp() * similar).softmax(1)
    found = scorer.region_scores(image_paths, [SQUARE] * 3, SHAPES)
    torch.testing.assert_close(torch.cat(found), shares[:, :2], **CLOSE)
    whole = torch.stack(
        [
            resize(pixels_of(x), [SIZE, SIZE], antialias=True)
            for x in image_paths
        ]
    )
    similar = cosines(clip, embed(clip, whole), FULL)
    shares = (clip.model.logit_scale.exp() * similar).softmax(1)
    torch.testing.assert_close(
        scorer.image_scores(image_paths, SHAPES), 1 - shares[:, 4], **CLOSE_16
    )


def test_contrast__against_background_of_the_same_image(
    make, image_paths, resnet
):
    box = torch.tensor([[0.0, 0, 40, 96]])  # the left half
    plain = make(mode='cosine', prompts=PAPER)
    own = plain.region_scores(image_paths[:1], [box], SHAPES)[0]
    cells = torch.tensor(
        [[x, y, x + 20, y + 24] for y in (0, 24, 48, 72) for x in (40, 60)]
    ).float()
    usual = plain.region_scores(image_paths[:1], [cells], SHAPES)[0].mean(0)
    scale = resnet.model.logit_scale.exp()
    expected = 1 / (1 + torch.exp(-scale * (own - usual)))
    scorer = make(mode='contrast', prompts=PAPER)
    found = scorer.region_scores(image_paths[:1], [box], SHAPES)[0]
    torch.testing.assert_close(found, expected, **CLOSE)


def test_contrast__does_not_depend_on_the_other_boxes(make, image_paths):
    left = torch.tensor([[0.0, 0, 40, 96]])
    drawn = torch.cat([left, torch.tensor([[40.0, 0, 80, 96]])])
    scorer = make(mode='contrast', prompts=PAPER)

    def score(boxes, *occupied):
        return scorer.region_scores(
            image_paths[:1], [boxes], SHAPES[:1], *occupied
        )[0]

    alone = score(left)
    together = score(drawn, [left])
    torch.testing.assert_close(together[:1], alone, **CLOSE)
    # boxes that fill the image leave none of it
    assert not torch.allclose(score(drawn)[:1], alone, **CLOSE)
    everywhere = score(drawn, [left[:0]])
    assert not torch.allclose(everywhere[:1], alone, **CLOSE)


def test_expansions__are_averaged(make, image_paths, resnet):
    small = torch.tensor([[24.0, 32, 56, 64]])  # the inner half of SQUARE
    args = (image_paths, [small] * 3, SHAPES)
    one = torch.cat(make(expand=(1.0,)).embed_regions(*args))
    two = torch.cat(make(expand=(2.0,)).embed_regions(*args))
    expected = embed(resnet, squares(image_paths))
    torch.testing.assert_close(two, expected, **CLOSE)
    both = torch.cat(make(expand=(1.0, 2.0)).embed_regions(*args))
    torch.testing.assert_close(both, F.normalize(one + two, dim=1), **CLOSE)


def test_dense__whole_image_is_the_towers_own_embedding(
    make, image_paths, resnet
):
    scorer = make(way='dense')
    whole = [torch.tensor([[0.0, 0, 80, 96]])] * 3
    found = scorer.embed_regions(image_paths, whole, SHAPES)
    images = torch.stack(
        [
            resize(pixels_of(x), [SIZE, SIZE], antialias=True)
            for x in image_paths
        ]
    )
    expected = embed(resnet, images)
    torch.testing.assert_close(torch.cat(found), expected, **CLOSE_16)


def test_dense__image_counts_its_worst_part(make, image_paths):
    scorer = make(way='dense')
    parts = [image_parts(x) for x in SHAPES]
    embedded = scorer.embed_regions(image_paths, parts, SHAPES)
    similar = torch.stack([cosines(scorer.clip, x, FULL) for x in embedded])
    normal = (scorer.scale * similar).softmax(-1)[..., -1]
    torch.testing.assert_close(
        scorer.image_scores(image_paths, SHAPES), 1 - normal.amin(1), **CLOSE
    )


@pytest.mark.parametrize('way', ['crops', 'dense'])
@pytest.mark.parametrize('mode', ['cosine', 'softmax', 'contrast'])
def test_batch__boxes_keep_their_image(make, image_paths, way, mode):
    scorer = make(mode=mode, way=way)
    boxes = [SQUARE.repeat(2, 1), SQUARE[:0], SQUARE - 5]
    found = scorer.region_scores(image_paths, boxes, SHAPES)
    assert [x.shape for x in found] == [(2, 2), (0, 2), (1, 2)]
    for i in (0, 2):
        alone = scorer.region_scores(
            image_paths[i : i + 1], boxes[i : i + 1], SHAPES[:1]
        )[0]
        torch.testing.assert_close(found[i], alone, **CLOSE)
    none = scorer.region_scores(image_paths[:1], [SQUARE[:0]], SHAPES[:1])
    assert none[0].shape == (0, 2)


@pytest.mark.parametrize('way', ['crops', 'dense'])
def test_warm__then_no_image_is_encoded(make, image_paths, way):
    scorer = make(way=way)
    passes = []
    handle = scorer.clip.model.visual.layer1.register_forward_hook(
        lambda layer, inputs, output: passes.append(len(output))
    )
    try:
        assert scorer.warm(image_paths) == 3
        assert passes == [2, 1]
        assert make(way=way).warm(image_paths) == 0
        scorer.image_scores(image_paths, SHAPES)
        if way == 'dense':
            scorer.region_scores(image_paths, [SQUARE] * 3, SHAPES)
    finally:
        handle.remove()
    assert passes == [2, 1]


def test_features__depend_on_weights_and_size_but_not_on_the_mode(
    make, resnet
):
    other = copy.deepcopy(resnet)
    with torch.no_grad():
        other.model.visual.conv1.weight += 1e-3
    keys = [
        make(way='dense', image_size=64).key,
        make(way='dense', image_size=96).key,
        make(way='dense', image_size=64, center=True).key,
        make(other, way='dense', image_size=64).key,
    ]
    assert len({*keys}) == 4
    assert make(mode='cosine', image_size=64).key == keys[0]


def test_center__brightness_does_not_count(make, tmp_path):
    rng = torch.Generator().manual_seed(0)
    dark = torch.randint(60, 120, (96, 80, 3), generator=rng)
    paths = [str(tmp_path / name) for name in ('dark.png', 'bright.png')]
    for path, pixels in zip(paths, (dark, dark + 90)):
        Image.fromarray(pixels.byte().numpy()).save(path)
    scorer = make(center=True)
    one, two = scorer.image_scores(paths, SHAPES[:2])
    assert float(one) == pytest.approx(float(two), abs=1e-3)
    one, two = scorer.region_scores(paths, [SQUARE] * 2, SHAPES[:2])
    torch.testing.assert_close(one, two, **CLOSE)


def test_image_parts__whole_and_overlapping_quarters():
    parts = image_parts((96, 80)).tolist()
    assert parts[0] == [0, 0, 80, 96]
    assert len(parts) == 10
    assert parts[1] == [0, 0, 40, 48] and parts[-1] == [40, 48, 80, 96]
    assert parts[5] == [20, 24, 60, 72]


@pytest.mark.parametrize(
    'boxes, cells',
    [
        ([[0, 0, 40, 80]], 8),  # the left half: two columns of four
        ([[0, 0, 20, 20], [60, 60, 80, 80]], 14),
        ([[0, 0, 5, 5]], 16),  # a sixteenth of a cell
        ([[0, 0, 10, 10]], 15),  # a quarter of a cell
    ],
)
def test_background__cells_that_boxes_leave_free(boxes, cells):
    boxes = torch.tensor(boxes)
    parts = background_parts(boxes, (80, 80))
    assert parts.shape == (cells, 4)
    assert ((parts[:, 2:] - parts[:, :2]) == 20).all()


def test_background__is_the_image_if_boxes_fill_it():
    parts = background_parts(torch.tensor([[0, 0, 80, 60]]), (60, 80))
    assert parts.tolist() == [[0, 0, 80, 60]]


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(mode='dot'), "mode 'dot': give one of cosine, softmax, con"),
        (dict(prompts=PAPER), 'give prompts.normal'),
    ],
)
def test_settings_that_do_not_fit__are_refused(make, options, message):
    with pytest.raises(InputError, match=message):
        make(**options)


def test_dense__of_a_vit_is_refused(make, vit):
    with pytest.raises(InputError, match="way='crops'"):
        make(vit, way='dense')


@pytest.mark.parametrize('content', [None, b'', b'no image'])
@pytest.mark.parametrize('way', ['crops', 'dense'])
def test_unreadable_image__is_named(make, tmp_path, way, content):
    path = tmp_path / 'steel.png'
    if content is not None:
        path.write_bytes(content)
    scorer = make(way=way)
    for score in (
        lambda: scorer.image_scores([str(path)], SHAPES[:1]),
        lambda: scorer.region_scores([str(path)], [SQUARE], SHAPES[:1]),
    ):
        with pytest.raises(InputError, match=r'steel\.png cannot be read'):
            score()


@pytest.mark.parametrize('way', ['crops', 'dense'])
def test_warm__leaves_out_what_cannot_be_read(
    make, tmp_path, image_paths, warnings, way
):
    broken, gone = (str(tmp_path / x) for x in ('broken.png', 'gone.png'))
    whole = Path(image_paths[0]).read_bytes()
    Path(broken).write_bytes(whole[: len(whole) // 20])
    scorer = make(way=way)
    assert scorer.warm([broken, image_paths[0], gone, *image_paths[1:]]) == 3
    (line,) = warnings()
    assert '2 images cannot be read' in line
    assert 'broken.png' in line and 'gone.png' in line
    assert scorer.image_scores(image_paths, SHAPES).shape == (3,)


@pytest.mark.parametrize('way', ['crops', 'dense'])
def test_nan__is_refused_and_named(make, image_paths, resnet, way):
    broken = copy.deepcopy(resnet)
    broken.model.visual.attnpool.c_proj.bias.data[0] = float('nan')
    scorer = make(broken, way=way)
    boxes = [SQUARE[:0], SQUARE, SQUARE]
    with pytest.raises(InputError, match=r'1\.png are not finite'):
        scorer.region_scores(image_paths, boxes, SHAPES)
    if way == 'crops':
        with pytest.raises(InputError, match=r'features of .*0\.png'):
            scorer.image_scores(image_paths, SHAPES)
    broken.model.text_projection.data[0] = float('nan')
    with pytest.raises(InputError, match='prompts are not finite'):
        make(broken)


def test_features__of_another_activation_have_another_key(make):
    plain, quick = tiny_clip(VIT), tiny_clip({**VIT, 'quick_gelu': True})
    assert plain.fingerprint() == quick.fingerprint()  # the same weights
    assert make(plain).key != make(quick).key


def test_features__of_other_heads_have_another_key(make):
    vision = VIT['vision_cfg']
    narrow = {**VIT, 'vision_cfg': {**vision, 'head_width': 8}}
    wide = {**VIT, 'vision_cfg': {**vision, 'head_width': 16}}
    first, second = tiny_clip(narrow), tiny_clip(wide)
    assert first.fingerprint() == second.fingerprint()  # the same weights
    assert make(first).key != make(second).key


def test_score_key__names_all_that_scores_depend_on(make):
    keys = {
        make(prompts=prompts, mode=mode, **regions).score_key
        for prompts in (FULL, PAPER, replace(FULL, center=True))
        for mode in ('cosine', 'contrast')
        for regions in ({}, dict(expand=(1.0, 1.5)), dict(way='dense'))
    }
    assert len(keys) == 3 * 2 * 3
    assert make(mode='cosine').score_key in keys
