"""Sets on disk: their content, going on, what stops them."""

import importlib
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
from pycocotools.coco import COCO
from tiny_diffusion import CLASSES, DEFECTS, saved_diffusion, write_steel

from dsym.datasets import DatasetError
from dsym.diffusion import CopyPastePainter, DefectLayout
from dsym.diffusion.examples import DefectExamples
from dsym.diffusion.quality_gate import change
from dsym.diffusion.synthesizer import Synthesizer
from dsym.diffusion.synthetic_set import ensure_synthetic
from dsym.diffusion.tally import SECONDS
from dsym.diffusion.workshop import CHUNK, Recipe
from dsym.errors import InputError, MissingFileError

COPIES = dict(type='CopyPastePainter', min_side=24)


@pytest.fixture(scope='module')
def labelled(tmp_path_factory):
    return write_steel(tmp_path_factory.mktemp('steel'))


def make(labelled, cache_dir, count=40, workers=0, max_tries=10, **recipe):
    recipe = Recipe(
        **dict(dict(painter=COPIES, layout={}, gate=None, seed=3), **recipe)
    )
    return ensure_synthetic(
        recipe, labelled, count, cache_dir, max_tries, workers
    )


def peers(labelled, count, seed=3, **layout):
    """The images as the synthesizer makes them."""
    painter = CopyPastePainter(CLASSES, DefectExamples(labelled), min_side=24)
    layout = DefectLayout(labelled, **layout)
    return Synthesizer(layout, painter, seed)(range(count))


def read(file):
    return json.loads(Path(file).read_text())


def pixels(path):
    """As the toolbox reads them; grey files have one channel."""
    assert cv2.imread(str(path), cv2.IMREAD_UNCHANGED).ndim == 2
    return cv2.imread(str(path))


def files(folder):
    """Content of every file by its name, but the lock and the times."""
    return {
        x.relative_to(folder).as_posix(): x.read_bytes()
        for x in folder.rglob('*')
        if x.is_file() and x.name not in ('.lock', SECONDS)
    }


@pytest.fixture(scope='module')
def made(labelled, tmp_path_factory):
    """A set of 40 images: two chunks."""
    return make(labelled, tmp_path_factory.mktemp('synthetic'))


def test_folder__what_it_holds(made):
    names = {x.split('/')[0] for x in files(made.parent)}
    assert names == {'settings.json', 'images', 'chunks', made.name}
    assert made.name == 'annotations_40.json'
    chunks = sorted((made.parent / 'chunks').iterdir())
    assert [x.name for x in chunks] == ['00000.json', '00001.json']
    assert all(len(read(x)) == CHUNK == 32 for x in chunks)
    assert len([*(made.parent / 'images').iterdir()]) == 64
    assert not [*(made.parent / 'refused').iterdir()]


def test_coco__says_what_was_painted(labelled, made):
    coco = COCO(str(made))
    assert [x['name'] for x in coco.dataset['categories']] == [*CLASSES]
    assert len(coco.imgs) == 40
    settings = read(made.parent / 'settings.json')
    assert coco.dataset['info']['settings'] == settings
    assert (settings['seed'], settings['painter']) == (3, COPIES)
    for x in peers(labelled, 40):
        image = coco.imgs[x.number]
        assert image['file_name'] == f'{x.number:06d}.png'
        assert (image['height'], image['width']) == x.plan.shape
        assert (image['number'], image['seed']) == (x.number, 3)
        assert image['painter'] == COPIES
        assert image['background'] == Path(x.plan.path).name
        found = coco.imgToAnns[x.number]
        assert [a['category_id'] - 1 for a in found] == [*x.plan.labels]
        assert all(a['synthetic'] and a['verdict'] is None for a in found)
        for a, (x1, y1, x2, y2) in zip(found, x.plan.boxes.astype(float)):
            assert a['bbox'] == pytest.approx([x1, y1, x2 - x1, y2 - y1])
            assert a['area'] == pytest.approx((x2 - x1) * (y2 - y1))


def test_images__are_the_synthesizers(labelled, made):
    for x in peers(labelled, 40):
        found = pixels(made.parent / 'images' / f'{x.number:06d}.png')
        expected = x.image(range(len(x.plan.boxes)))
        assert np.array_equal(found, expected.repeat(3, 2))


def test_same_set__is_not_made_twice(labelled, made):
    before = made.stat().st_mtime_ns
    assert make(labelled, made.parents[1]) == made
    assert made.stat().st_mtime_ns == before


def test_image_that_is_gone__is_said_before_training(labelled, made, tmp_path):
    folder = tmp_path / made.parent.name
    shutil.copytree(made.parent, folder)
    (folder / 'images' / '000007.png').unlink()
    with pytest.raises(DatasetError, match=r'1 of 40 .* gone, such as 000007'):
        make(labelled, tmp_path)


def test_other_settings__other_folders(labelled, made, tmp_path):
    """Not for another place of the labelled images or of the cache."""
    copied = tmp_path / 'copied'
    shutil.copytree(Path(labelled.infos[0]['img_path']).parent, copied)
    elsewhere = write_steel(copied)
    again = make(elsewhere, tmp_path, 1)
    assert again.parent.name == made.parent.name
    others = [
        dict(seed=4),
        dict(layout=dict(max_boxes=1)),
        dict(painter=dict(COPIES, context=(1.0, 2.0))),
        dict(gate=dict(min_change=0)),
    ]
    folders = {make(labelled, tmp_path, 1, **x).parent for x in others}
    assert len(folders | {again.parent}) == 5


def test_keep__true_boxes_are_annotated_as_such(labelled, tmp_path):
    coco = read(make(labelled, tmp_path, 8, layout=dict(background='keep')))
    for x in peers(labelled, 8, background='keep'):
        mine = [a for a in coco['annotations'] if a['image_id'] == x.number]
        real = [a for a in mine if not a['synthetic']]
        assert [a['category_id'] - 1 for a in real] == [*x.plan.kept_labels]
        corners = [[a['bbox'][0], a['bbox'][1]] for a in real]
        assert corners == x.plan.kept[:, :2].tolist()
        assert len(mine) == len(real) + len(x.plan.boxes)


def test_replace__what_is_refused_is_there_as_it_was(labelled, tmp_path):
    """Half of the painted boxes: those that change least are 'blank'."""
    layout = dict(background='replace', share=1.0)
    expected = peers(labelled, 32, **layout)
    changes = np.concatenate(
        [
            [
                change(x.image(range(len(x.plan.boxes))), x.background, box)
                for box in x.plan.boxes
            ]
            for x in expected
        ]
    )
    gate = dict(min_change=float(np.median(changes)), max_correlation=2)
    file = make(labelled, tmp_path, 32, layout=layout, gate=gate)
    coco = read(file)
    assert len(coco['images']) == 32
    synthetic = [x['synthetic'] for x in coco['annotations']]
    assert sum(synthetic) == (changes >= np.median(changes)).sum()
    for x, image in zip(expected, coco['images']):
        mine = [a for a in coco['annotations'] if a['image_id'] == x.number]
        truth = DEFECTS[int(Path(x.plan.path).stem)]
        assert sorted(
            (a['category_id'] - 1, a['bbox'][:2]) for a in mine
        ) == sorted((label, [*map(float, box[:2])]) for label, box in truth)
        made = pixels(file.parent / 'images' / image['file_name'])
        for a in mine:
            x1, y1, w, h = map(int, a['bbox'])
            part = np.s_[y1 : y1 + h, x1 : x1 + w]
            same = np.array_equal(made[part][..., :1], x.background[part])
            assert same != a['synthetic']


def test_decoys__are_written_down_and_shown_beside_a_defect(
    labelled, tmp_path
):
    """An image without a painted defect is the real one."""
    layout = dict(background='replace', decoys=2)
    expected = peers(labelled, 32, **layout)
    changes = [
        change(x.image([0]), x.background, x.plan.boxes[0]) for x in expected
    ]
    gate = dict(min_change=float(np.median(changes)), max_correlation=2)
    coco = read(make(labelled, tmp_path, 32, layout=layout, gate=gate))
    folder = next(tmp_path.glob('*/images'))
    shown = 0
    for x, changed, image in zip(expected, changes, coco['images']):
        found = pixels(folder / image['file_name'])[..., :1]
        kept = changed >= gate['min_change']
        decoys = range(len(x.decoys)) if kept else ()
        made = x.image([0] if kept else [], decoys)
        assert np.array_equal(found, made)
        corners = [[a, b, a + w, b + h] for a, b, w, h in image['decoys']]
        wanted = x.plan.decoys[[*decoys]]
        assert np.allclose(np.reshape(corners, (-1, 4)), wanted, atol=1e-3)
        shown += len(corners)
    assert shown > 8


def test_replace__all_refused_is_an_error(labelled, tmp_path):
    with pytest.raises(DatasetError, match='the gate kept 0 of 32'):
        make(
            labelled,
            tmp_path,
            8,
            layout=dict(background='replace'),
            gate=dict(min_change=255),
        )


def times(folder):
    return {x.name: x.stat().st_mtime_ns for x in folder.rglob('*.*')}


def test_killed__goes_on_from_its_chunks(labelled, made, tmp_path):
    folder = tmp_path / made.parent.name
    shutil.copytree(made.parent, folder)
    complete = files(folder)
    # as if it was killed while it painted the second chunk
    (folder / made.name).unlink()
    (folder / 'chunks' / '00001.json').unlink()
    (folder / 'images' / '000050.png').unlink()
    (folder / 'images' / '000051.tmp').write_bytes(b'half')
    before = times(folder)
    make(labelled, tmp_path)
    after = times(folder)
    first = {'00000.json'} | {f'{i:06d}.png' for i in range(32)}
    changed = {x for x in after if after[x] != before.get(x)}
    assert not first & changed
    assert {'00001.json', '000050.png', made.name} <= changed
    assert files(folder) == complete


def test_larger_count__goes_on_from_the_smaller(labelled, made, tmp_path):
    few = make(labelled, tmp_path, 20)
    before = times(few.parent)
    assert len(read(few)['images']) == 20
    many = make(labelled, tmp_path, 40)
    assert many.parent == few.parent and many.name == 'annotations_40.json'
    after = times(few.parent)
    # some versions of filelock touch the file
    anew = {'settings.json', SECONDS, '.lock'}
    assert {x: after[x] for x in before if x not in anew} == {
        x: before[x] for x in before if x not in anew
    }
    # 20 are a chunk, 40 are two
    calls = read(many.with_name(SECONDS))
    assert [x['images'] for x in calls] == [CHUNK, CHUNK]
    assert all(x['seconds'] >= 0 for x in calls)
    assert read(many)['images'][:20] == read(few)['images']
    assert many.read_bytes() == made.read_bytes()


def test_processes__make_the_same_files(labelled, made, tmp_path):
    parallel = make(labelled, tmp_path, workers=2)
    assert files(parallel.parent) == files(made.parent)


def test_processes__know_a_users_own_painter(labelled, tmp_path, monkeypatch):
    """As custom_imports of a config makes it known to this process."""
    (tmp_path / 'painter_of_a_user.py').write_text(
        'from mmengine.registry import MODELS\n'
        'from dsym.diffusion import CopyPastePainter\n'
        '@MODELS.register_module()\n'
        'class PainterOfAUser(CopyPastePainter):\n'
        '    pass\n'
    )
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module('painter_of_a_user')
    own = dict(COPIES, type='PainterOfAUser')
    file = make(labelled, tmp_path / 'sets', workers=2, painter=own)
    assert len(read(file)['images']) == 40


def test_missing_model__is_said_before_anything_is_made(labelled, tmp_path):
    painter = dict(type='DiffusionPainter', model=str(tmp_path / 'nothing'))
    with pytest.raises(MissingFileError, match='nothing holds no Cond'):
        make(labelled, tmp_path, 4, painter=painter)
    assert not [*tmp_path.glob('*/images')]


def test_gate__only_what_it_keeps_is_in_the_set(labelled, tmp_path):
    every = peers(labelled, 32)
    changes = []
    for x in every:
        image = x.image(range(len(x.plan.boxes))).astype(float)
        difference = np.abs(image - x.background)
        for box in x.plan.boxes:
            x1, y1, x2, y2 = (round(float(v)) for v in box)
            changes.append(difference[y1:y2, x1:x2].mean())
    least = float(np.median(changes))
    refused = sum(x < least for x in changes)
    gate = dict(min_change=least, max_correlation=1.1)
    target = make(labelled, tmp_path, 8, gate=gate)
    coco, folder = read(target), target.parent
    records = read(folder / 'chunks' / '00000.json')
    reasons = [v['reason'] for x in records for v in x['verdicts']]
    assert reasons.count('blank') == refused > 0
    assert len(reasons) == len(changes)
    found = [v['change'] for x in records for v in x['verdicts']]
    assert found == pytest.approx(changes)
    # an image with a kept defect is in images/, one with a refused in refused/
    for name, wanted in (('images', ''), ('refused', 'blank')):
        assert {int(x.stem) for x in (folder / name).iterdir()} == {
            x['number']
            for x in records
            if wanted in [v['reason'] for v in x['verdicts']]
        }
    kept = [x for x in records if x['kept']][:8]
    assert [x['number'] for x in coco['images']] == [x['number'] for x in kept]
    assert len(coco['annotations']) == sum(len(x['kept']) for x in kept)
    for a in coco['annotations']:
        assert a['verdict']['reason'] == '' and a['verdict']['change'] >= least
    for x in kept:
        image = pixels(folder / 'images' / f'{x["number"]:06d}.png')
        expected = every[x['number']].image(x['kept'])
        assert np.array_equal(image, expected.repeat(3, 2))


def test_gate__that_refuses_all_stops_with_counts(labelled, tmp_path):
    defects = sum(len(x.plan.boxes) for x in peers(labelled, 64))
    with pytest.raises(DatasetError) as error:
        # two chunks hold the 60 images that may be tried
        make(labelled, tmp_path, 6, gate=dict(min_change=256))
    text = str(error.value)
    assert 'kept 0 of 64 synthetic images, 6 are wanted' in text
    assert f'({defects} blank)' in text and 'refused' in text
    assert len([*next(tmp_path.glob('*/refused')).iterdir()]) == 64


def test_gate__that_refuses_all_is_not_tried_for_ever(labelled, tmp_path):
    with pytest.raises(DatasetError, match='kept 0 of 256 synthetic'):
        make(labelled, tmp_path, 900, gate=dict(min_change=256))


def test_cache_dir__that_cannot_be_written_is_named(labelled, tmp_path):
    (tmp_path / 'file').write_bytes(b'')
    with pytest.raises(DatasetError, match='another cache_dir') as error:
        make(labelled, tmp_path / 'file')
    assert str(tmp_path / 'file') in str(error.value)


@pytest.mark.parametrize(
    'recipe, part',
    [
        (dict(painter=dict(COPIES, sizes=3)), 'sizes'),
        (dict(layout=dict(max_box=3)), 'max_box'),
        (dict(gate=dict(min_chance=3)), 'min_chance'),
        (dict(layout=dict(background='white')), 'white'),
        (dict(painter=dict(type='CopyPastPainter')), 'CopyPastPainter'),
        (dict(painter=dict()), 'type'),
        (dict(gate=dict(type='QualityGat')), 'QualityGat'),
    ],
)
def test_unknown_setting__is_refused(labelled, tmp_path, recipe, part):
    with pytest.raises(InputError, match=part):
        make(labelled, tmp_path, **recipe)


def test_diffusion__is_a_painter_of_sets(labelled, tmp_path):
    """Its folder's content, not its place, names the set."""
    folders = [saved_diffusion(tmp_path / name) for name in ('a', 'b')]
    painter = dict(
        type='DiffusionPainter', num_steps=2, strength=0.5, bf16=False
    )

    def cached(name, model):
        options = dict(painter, model=model)
        return make(labelled, tmp_path / name, 4, painter=options)

    first, second = map(cached, ('first', 'second'), folders)
    assert first.parent.name == second.parent.name
    assert files(first.parent) == files(second.parent)
    saved_diffusion(tmp_path / 'a', seed=1)
    assert cached('first', folders[0]).parent != first.parent
