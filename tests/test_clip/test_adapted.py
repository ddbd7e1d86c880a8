"""load_scorer: settings of an adapted model, and what is given over them."""

import pytest
from tiny_clip import tiny_clip

from dsym.clip import Prompts, RegionSettings, load_scorer, save_clip
from dsym.errors import InputError

CLASSES = ('crazing', 'rolled-in_scale')
SAVED = Prompts(
    CLASSES,
    misplaced=('a part of {defect_type}',),
    normal=('flawless steel',),
    center=True,
)


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    clip = tiny_clip()
    regions = RegionSettings('dense', image_size=96, center=True)
    clip.settings = dict(prompts=SAVED.to_dict(), regions=regions.to_dict())
    folder = tmp_path_factory.mktemp('clip')
    save_clip(clip, folder)
    return str(folder)


def test_given_settings__join_those_of_the_folder(folder):
    scorer = load_scorer(
        folder,
        CLASSES,
        prompts=dict(defect=['steel with {defect_type}'], misplaced=()),
        regions=dict(expand=(1.0,)),
    )
    assert scorer.prompts.groups == [
        ['steel with crazing'],
        ['steel with rolled in scale'],
        ['flawless steel'],
    ]
    assert scorer.prompts.center
    assert scorer.regions == RegionSettings(
        'dense', (1.0,), image_size=96, center=True
    )


def test_no_settings__are_those_of_the_folder(folder):
    scorer = load_scorer(folder, CLASSES)
    assert scorer.prompts.groups == SAVED.groups and scorer.prompts.center
    assert scorer.regions == RegionSettings(
        'dense', image_size=96, center=True
    )


def test_given_prompts__do_not_hide_other_classes(folder):
    with pytest.raises(InputError, match='adapted to the classes crazing, r'):
        load_scorer(folder, ('rust',), prompts=dict(defect=['{defect_type}']))


@pytest.mark.parametrize('name', ['prompts', 'regions'])
def test_misspelt_key__is_one_line(folder, name):
    with pytest.raises(InputError, match=f"{name} has no 'expnd': give some"):
        load_scorer(folder, CLASSES, **{name: dict(expnd=(1.0,))})
