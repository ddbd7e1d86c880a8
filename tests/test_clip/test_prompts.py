"""Prompts: the texts of eq 17 and their embeddings."""

import json

import pytest
import torch

from dsym.clip import Prompts, encode_prompts
from dsym.errors import InputError

CLASSES = ('crazing', 'rolled-in_scale')


def test_default__is_eq_17():
    assert Prompts(CLASSES).groups == [
        ['A photo with crazing defect'],
        ['A photo with rolled in scale defect'],
    ]


def test_groups__defects_then_misplaced_then_normal():
    prompts = Prompts(
        CLASSES,
        defect=('a {defect_type}', 'the {defect_type}'),
        misplaced=('half a {defect_type}',),
        normal=('flawless', 'clean steel'),
        words={'crazing': 'cross-hatching', 'rolled-in_scale': 'scale'},
    )
    assert prompts.groups == [
        ['a cross-hatching', 'the cross-hatching'],  # words as they are given
        ['a scale', 'the scale'],
        ['half a cross-hatching'],
        ['half a scale'],
        ['flawless', 'clean steel'],
    ]
    again = Prompts(**json.loads(json.dumps(prompts.to_dict())))
    assert again.groups == prompts.groups


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(words={'crazing': 'cracks'}), "class 'rolled-in_scale'"),
        (
            dict(words={'crazing': ' ', 'rolled-in_scale': 'scale'}),
            "class 'crazing'",
        ),
        (
            dict(words={**dict.fromkeys(CLASSES, 'x'), 'rust': 'rust'}),
            "'rust' is no class",
        ),
        (dict(defect=('a photo',)), r"defect: 'a photo'.*\{defect_type\}"),
        (dict(misplaced=('a part',)), r"misplaced: 'a part'"),
        (dict(defect=()), 'defect is empty'),
        (dict(normal='flawless'), r"normal is one text: write \['flawless'\]"),
    ],
)
def test_bad_prompts__name_key_and_remedy(options, message):
    with pytest.raises(InputError, match=message) as error:
        Prompts(CLASSES, **options)
    assert '\n' not in str(error.value)


@torch.no_grad()
def test_embedding__mean_of_what_open_clip_encodes(resnet):
    groups = [['a defect'], ['some rust', 'much rust', 'no rust']]
    found = encode_prompts(resnet.model, [resnet.tokenizer(x) for x in groups])
    for row, texts in zip(found, groups):
        rows = resnet.model.encode_text(resnet.tokenizer(texts), True)
        mean = rows.sum(0) / len(texts)
        torch.testing.assert_close(row, mean / mean.norm())


@torch.no_grad()
def test_center__takes_away_what_all_groups_share(resnet):
    tokens = [resnet.tokenizer([x]) for x in ('rust', 'a dent', 'steel')]
    rows = resnet.model.encode_text(torch.cat(tokens), normalize=True)
    rows = rows - rows.mean(0)
    torch.testing.assert_close(
        encode_prompts(resnet.model, tokens, center=True),
        rows / rows.norm(dim=1, keepdim=True),
        rtol=1e-4,
        atol=1e-5,
    )
