"""The list of runs of a study: mistakes in it, and the hash of a run."""

import argparse
import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from mmengine.config import Config, DictAction
from study_files import write_study

from dsym.errors import InputError

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / 'tools'))

from studies.options import as_options, check_spelling  # noqa: E402
from studies.plan import check_record, load_study  # noqa: E402


@pytest.mark.parametrize(
    ('changes', 'message'),
    [
        (dict(config='nothing.py'), 'there is no config'),
        (dict(sedes=[1]), "unknown key 'sedes'"),
        (dict(trainer='mine'), "trainer 'mine' must be one of"),
        (dict(minutes=0), 'minutes 0: give more than 0'),
        (dict(seeds=3), 'seeds 3: give a list of integers'),
        (dict(seeds=[]), 'seeds []: give a list of integers'),
        (dict(seeds=['a']), "seeds ['a']: give a list of integers"),
        (dict(name='a/b'), "name 'a/b': give a name without / and spaces"),
        (dict(name=7), 'name 7: give a name without / and spaces'),
        (dict(config=['a']), "config ['a']: give a text"),
        (dict(options=['a=1']), "options ['a=1']: give a mapping"),
        (dict(tests=['dev']), "tests ['dev']: give a mapping"),
        (dict(tests={'dev': None}), 'tests.dev None: give a mapping'),
        (dict(tests={'a/b': {}}), "test 'a/b': give a name without / and"),
        (dict(seeds=[1, 1]), 'two runs are called tiny_seed1'),
    ],
)
def test_mistakes(tmp_path, changes, message):
    path = write_study(tmp_path, **changes)
    with pytest.raises(InputError, match=re.escape(message)):
        load_study(path, tmp_path, tmp_path)


@pytest.mark.parametrize(
    'value',
    ['/my work/x', '/a,b/x', 'a photo', ['a b'], '0123', [{'a': 1}], '[a,b'],
)
def test_options__that_would_arrive_changed_are_refused(value):
    with pytest.raises(InputError, match=r'^x\.y: --cfg-options would read'):
        as_options({'x': {'y': value}})


def test_options__arrive_as_they_are_given():
    given = {'a': [None, 1, True, 'b', [0.5]], 'c': '/d/e_f', 'g': 1e-06}
    parser = argparse.ArgumentParser()
    parser.add_argument('--cfg-options', nargs='+', action=DictAction)
    assert parser.parse_args(as_options(given)).cfg_options == given


@pytest.mark.parametrize(
    ('content', 'message'),
    [
        (dict(runs=['tiny']), "run 'tiny': give a mapping"),
        (dict(runs={'tiny': {}}), "runs {'tiny': {}}: give a list"),
        (dict(runs=[]), 'the list runs is empty'),
        (dict(results=1, runs=[{}]), 'results 1: give a text'),
        ({1: 2}, "unknown key '1'"),
        ([], 'must have the keys results, tests, runs'),
    ],
)
def test_mistakes_around_the_runs(tmp_path, content, message):
    path = tmp_path / 'study.yaml'
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(InputError, match=re.escape(message)):
        load_study(path, tmp_path, tmp_path)


def test_hash_is_the_same_on_another_machine(tmp_path, monkeypatch):
    """Nested data sets' places and workers too; other overrides change it."""
    digests = {}
    for place, cores, seed in (('a', 8, 3), ('b', 2, 3), ('b', 2, 4)):
        path = write_study(
            tmp_path,
            config=str(
                ROOT / 'configs/baselines/'
                'soft-teacher_faster-rcnn-r50_1xb16-4.2k_neu-det-semi20.py'
            ),
            options={},
            seeds=[seed],
        )
        monkeypatch.setenv('NEU_DET_ROOT', f'/{place}')
        monkeypatch.setattr(
            'dsym.engine.cpu_threads_hook.usable_cores', lambda n=cores: n
        )
        run = load_study(path, path.parent, path.parent)[0]
        digests[place, seed] = run.hash()
    assert digests['a', 3] == digests['b', 3] != digests['b', 4]


def test_hash_is_the_same_in_another_checkout(tmp_path):
    """A gate of synthetic images names its detector's config by its place."""
    digests = set()
    for root in (ROOT, tmp_path / 'other'):
        path = root / 'tools' / 'studies' / 'plan.py'
        if root != ROOT:
            path.parent.mkdir(parents=True)
            path.write_text((ROOT / 'tools/studies/plan.py').read_text())
            (root / 'configs').symlink_to(ROOT / 'configs')
        plan = runpy.run_path(str(path))
        config = 'configs/dsym/yolov9-t-diffusion_1xb16-200e_neu-det-labeled20'
        study = write_study(tmp_path, config=f'{config}.py', options={})
        (run,) = plan['load_study'](study, root, tmp_path)
        assert str(root) in str(run.load_config().train_dataloader)
        digests.add(run.hash())
    assert len(digests) == 1


def test_seed_stands_in_the_texts_of_options(tmp_path):
    """A run begins with the checkpoint of its own seed."""
    options = dict(
        load_from='start_seed{seed}/a.pth', hooks=[dict(a='{seed}')]
    )
    path = write_study(tmp_path, options=options, seeds=[0, 2])
    runs = load_study(path, tmp_path, tmp_path)
    for run, seed in zip(runs, (0, 2)):
        # as written in its record: seeds of one run have the same
        assert run.options == options
        found = run.all_options
        assert found['load_from'] == f'start_seed{seed}/a.pth'
        assert found['hooks'] == [dict(a=str(seed))]


def hash_of(folder, **options):
    """Hash of the tiny run with these overrides."""
    path = write_study(folder, options=options)
    return load_study(path, folder, folder)[0].hash()


@pytest.mark.parametrize(
    'spell',
    [
        lambda root: {'train_dataloader.dataset.data_root': root},
        lambda root: {'train_dataloader.dataset': dict(data_root=root)},
        lambda root: {'custom_hooks': [dict(data_root=root, type='A')]},
    ],
)
def test_hash__has_the_data_root_of_an_override(tmp_path, spell):
    """That of the config is the machine's, that of a study another set."""
    first, second = (hash_of(tmp_path, **spell(x)) for x in ('/a', '/b'))
    assert first != second == hash_of(tmp_path, **spell('/b'))


@pytest.mark.parametrize('key', ['split', 'ann_file'])
def test_hash__has_what_a_list_file_says(tmp_path, key):
    """Its place is the machine's."""
    name = f'train_dataloader.dataset.{key}'
    first, second = tmp_path / 'one.txt', tmp_path / 'other.txt'
    first.write_text('a\n')
    second.write_text('a\n')
    digest = hash_of(tmp_path, **{name: str(first)})
    assert hash_of(tmp_path, **{name: str(second)}) == digest
    second.write_text('b\n')
    assert hash_of(tmp_path, **{name: str(second)}) != digest


def test_hash__of_a_published_split_is_its_name(tmp_path, monkeypatch):
    """Whatever lies in the folder that a study is started in."""
    monkeypatch.chdir(tmp_path)
    name = 'train_dataloader.dataset.split'
    digest = hash_of(tmp_path, **{name: 'dev'})
    (tmp_path / 'dev').write_text('mine')
    assert hash_of(tmp_path, **{name: 'dev'}) == digest


def test_committed_records__are_of_the_configs_of_today():
    """A change of a config or of what is hashed would train them again."""
    listed = subprocess.run(
        ['git', 'ls-files', 'configs'],
        cwd=ROOT,
        capture_output=True,
        text=True,
    ).stdout.split()
    checked = [
        (run, json.loads(run.record.read_text())['config_hash'])
        for path in sorted((ROOT / 'configs/studies').glob('*.yaml'))
        for run in load_study(path, ROOT, ROOT / 'work_dirs')
        if run.record.relative_to(ROOT).as_posix() in listed
    ]
    if not checked:
        pytest.skip('no git checkout')
    changed = [run.record for run, x in checked if x != run.hash()]
    assert not changed


def test_hash__is_not_of_test_time_augmentation(tmp_path):
    """No run of a study is tested with it."""
    path = write_study(tmp_path)
    (run,) = load_study(path, tmp_path, tmp_path)
    plain = run.hash()
    with run.config.open('a') as file:
        file.write('tta_model = dict(a=1)\n')
    assert run.hash() == plain


@pytest.mark.parametrize(
    'path', sorted((ROOT / 'configs/studies').glob('*.yaml')), ids=str
)
def test_studies_of_the_project(path, tmp_path):
    """Every run's config loads, its overrides name keys that are there.

    And train.py is told the same ones, spelled as its parser takes them.
    """

    def leaf(config, key):
        for part in key.split('.'):
            config = config[int(part) if part.isdigit() else part]
        return config

    for run in load_study(path, ROOT, tmp_path):
        plain = Config.fromfile(run.config)
        for options in (run.options, *run.tests.values()):
            for key in options:
                leaf(plain, key)  # raises for a key that is not there
        assert len(run.hash()) == 12
        parser = argparse.ArgumentParser()
        parser.add_argument('--cfg-options', nargs='+', action=DictAction)
        told = parser.parse_args(as_options(run.all_options)).cfg_options
        spelled, planned = (Config.fromfile(run.config) for _ in range(2))
        spelled.merge_from_dict(told)
        planned.merge_from_dict(run.all_options)
        assert spelled.to_dict() == planned.to_dict()


def test_hash__of_a_list_that_is_not_here(tmp_path, monkeypatch):
    """A record made beside the data is one of the same run without them."""
    monkeypatch.chdir(tmp_path)
    Path('mine').mkdir()
    images = Path('mine') / 'train.json'
    images.write_text('{"images": []}')
    path = write_study(
        tmp_path,
        options={
            'train_dataloader.dataset.data_root': 'mine',
            'train_dataloader.dataset.ann_file': 'train.json',
        },
    )
    (run,) = load_study(path, tmp_path, tmp_path)
    lists, digest = run.lists(), run.hash()
    assert [*lists] == ['.train_dataloader.dataset.ann_file']
    images.rename('elsewhere.json')
    assert (run.lists(), run.hash(lists)) == ({}, digest)
    assert run.hash() != digest
    record = dict(config_hash=digest, lists=lists)
    check_record(run, record, path)
    images.write_text('{"images": [1]}')  # another list of that name
    with pytest.raises(InputError, match='is of another config'):
        check_record(run, record, path)


@pytest.mark.parametrize(
    'changes, folder, message',
    [
        (dict(options={'a.lr': '1e-3'}), 'x', 'tiny_seed3: a.lr: .*not 1e-3'),
        (dict(tests={'dev': {'a': 'b c'}}), 'x', 'tiny_seed3: a: '),
        (dict(name='a,b'), 'x', 'a,b_seed3: its folder would be .*/x/'),
        ({}, 'x y', 'tiny_seed3: its folder would be .*/x y/'),
    ],
)
def test_spelling__is_looked_at_before_a_training(
    tmp_path, changes, folder, message
):
    path = write_study(tmp_path, **changes)
    (run,) = load_study(path, tmp_path, tmp_path / folder)
    with pytest.raises(InputError, match=message):
        check_spelling(run)
