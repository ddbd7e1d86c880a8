"""What a wheel and an editable install hold, and that they work."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections import Counter
from importlib.metadata import distributions, version
from pathlib import Path

import mmdet
import pytest
import yaml
from mmengine.config import Config
from tiny_run import call_script, run, write_config

from dsym.datasets.steel_cache import ensure_steel_synth

REPO = Path(__file__).resolve().parents[1]
MMDET_TOOLS = Path(mmdet.__file__).parent / '.mim' / 'tools'
FOUND = '000002.png'  # of SteelSynth, in which the detector finds defects


def pip(*arguments, cwd):
    done = run(
        sys.executable, '-m', 'pip', '--disable-pip-version-check',
        *arguments, '--no-deps', '--no-build-isolation', cwd=cwd,
    )  # fmt: skip
    assert not done.returncode, done.stderr[-2000:]


def tracked(*patterns):
    """Return the files of the checkout that git does not ignore."""
    command = ['git', '-C', str(REPO), 'ls-files', '-z', '--cached']
    command += ['--others', '--exclude-standard', *patterns]
    found = subprocess.run(command, capture_output=True, text=True)
    if found.returncode:
        pytest.skip('not a git checkout: the files to expect are unknown')
    names = {name for name in found.stdout.split('\0') if name}
    return {name for name in names if (REPO / name).is_file()}


@pytest.fixture(scope='module')
def source(tmp_path_factory):
    """A copy of the checkout, so that a build leaves no traces."""
    copy = tmp_path_factory.mktemp('source')
    for name in tracked('.'):
        target = copy / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(REPO / name, target)
    return copy


@pytest.fixture(scope='module')
def wheel(source, tmp_path_factory):
    folder = tmp_path_factory.mktemp('wheel')
    pip('wheel', '-q', '-w', folder, source, cwd=folder)
    return next(folder.glob('dsym-*.whl'))


@pytest.fixture(scope='module')
def installed(wheel, tmp_path_factory):
    target = tmp_path_factory.mktemp('installed')
    pip('install', '-q', '--target', target, wheel, cwd=target)
    return target


def test_wheel__holds_package_configs_and_tools(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    expected = {
        f'dsym/.mim/{name}'
        for name in tracked('configs', 'tools', 'model-index.yml')
        if not name.startswith('tools/dev/')
    }
    expected |= {
        name.removeprefix('projects/') for name in tracked('projects/dsym')
    }
    assert 'dsym/.mim/tools/train.py' in expected
    assert expected - names == set()
    extra = {name for name in names - expected if '.dist-info/' not in name}
    assert extra == set()


def test_wheel__metadata(wheel, source):
    archive = zipfile.ZipFile(wheel)
    name = next(n for n in archive.namelist() if n.endswith('/METADATA'))
    lines = archive.read(name).decode().splitlines()
    requires = [line for line in lines if line.startswith('Requires-Dist')]
    always = [line for line in requires if 'extra ==' not in line]
    # mmcv must be compiled first, and forks have other names.
    assert not [line for line in always if ' mm' in line]
    assert [line for line in requires if ' mmcv' in line and '"mim"' in line]
    assert 'Name: dsym' in lines


def test_mim__finds_tools_configs_and_models(installed, tmp_path):
    """By names alone, as openmim 0.3.10 looks for them."""
    (found,) = distributions(name='dsym', path=[str(installed)])
    package = Path(found.locate_file('dsym'))
    mim = package / '.mim'

    # `mim train dsym NAME` asks this script for `--gpus`, which it would
    # have to pass, and gives it a config and `--launcher`.
    script = mim / 'tools' / 'train.py'
    done = run(
        sys.executable, script, '-h', cwd=tmp_path, pythonpath=installed
    )
    assert done.stdout.startswith('usage: train.py '), done.stderr[-2000:]
    assert '--launcher' in done.stdout and '--gpus' not in done.stdout

    # It walks the whole package and refuses a name that two files have.
    names = Counter(x.name for x in package.rglob('*.py'))
    configs = set((mim / 'configs').rglob('*.py'))
    configs = {x for x in configs if '_base_' not in x.parts}
    assert configs and not [x for x in configs if names[x.name] > 1]

    # `mim search` and `mim download` begin at the index.
    index = yaml.safe_load((mim / 'model-index.yml').read_text())
    metafiles = [mim / name for name in index['Import']]
    models = [
        model
        for metafile in metafiles
        for model in yaml.safe_load(metafile.read_text())['Models']
    ]
    assert {mim / x['Config'] for x in models} <= configs
    assert Config.fromfile(mim / models[0]['Config']).model


def test_wheel__trains_with_the_script_of_mmdet_anywhere(installed, tmp_path):
    config = write_config(tmp_path, installed / 'dsym' / '.mim' / 'configs')
    done = run(
        sys.executable, MMDET_TOOLS / 'train.py', config, '--work-dir', 'out',
        cwd=tmp_path, pythonpath=installed,
    )  # fmt: skip
    assert not done.returncode, done.stderr[-3000:]
    assert (tmp_path / 'out' / 'epoch_1.pth').is_file()
    scalars = next(tmp_path.glob('out/*/vis_data/scalars.json')).read_text()
    assert '"defect/mAP_50"' in scalars


def test_wheel__predicts_without_a_model_anywhere(
    installed, tmp_path, monkeypatch
):
    """By the command of docs/factory.md, which looks for the tool itself."""
    data = ensure_steel_synth(tmp_path / 'data', num_images=8, num_workers=1)
    shutil.copy(data / 'images' / FOUND, tmp_path / 'image.jpg')
    page = (REPO / 'docs' / 'factory.md').read_text()
    (command,) = [x for x in page.splitlines() if '.mim/tools/' in x]
    # its python is the one that runs the tests
    monkeypatch.setenv('PATH', str(Path(sys.executable).parent), os.pathsep)
    done = run('bash', '-c', command, cwd=tmp_path, pythonpath=installed)
    assert done.returncode == 0, done.stderr[-3000:]
    out = tmp_path / 'predictions'
    lines = (out / 'predictions.csv').read_text().splitlines()
    assert lines[0] == 'image,class,score,x1,y1,x2,y2'
    content = json.loads((out / 'predictions.json').read_text())
    assert [x['file_name'] for x in content['images']] == ['image.jpg']
    assert len(lines) == 1 + len(content['annotations']) > 1
    # the weights of this wheel, not of the tests' own environment
    assert Path(content['info']['checkpoint']).is_relative_to(installed)


def test_editable__links_configs_and_tools(source, tmp_path):
    target = tmp_path / 'site'
    pip('install', '-q', '--target', target, '-e', source, cwd=tmp_path)
    mim = source / 'projects' / 'dsym' / '.mim'
    for name in ('configs', 'tools', 'model-index.yml'):
        assert (mim / name).resolve() == (source / name).resolve()
    # The tests' own environment holds an editable dsym, found by a module of
    # the same name: it has to go first.
    code = (
        'import site, sys\n'
        "for name in [n for n in sys.modules if '__editable___dsym' in n]:\n"
        '    del sys.modules[name]\n'
        '    sys.meta_path[:] = [finder for finder in sys.meta_path\n'
        "        if getattr(finder, '__module__', '') != name]\n"
        f'sys.path.insert(0, {str(target)!r})\n'
        f'site.addsitedir({str(target)!r})\n'
        'import dsym; print(dsym.__file__)'
    )
    done = run(sys.executable, '-c', code, cwd=tmp_path)
    expected = source / 'projects' / 'dsym' / '__init__.py'
    assert Path(done.stdout.splitlines()[-1]) == expected, done.stderr


@pytest.mark.parametrize(
    'script, usage',
    [
        ('train.py', '[--resume [RESUME]]'),
        ('test.py', '[--show-dir SHOW_DIR]'),
    ],
)
def test_tools__have_the_options_of_mmdet(script, usage):
    done = call_script(REPO / 'tools' / script, '--help')
    assert done.stdout.startswith(f'usage: {script} '), done.stderr
    assert usage in done.stdout and '[--cfg-options' in done.stdout


def test_train__missing_config_is_one_line(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = call_script(REPO / 'tools' / 'train.py', 'none.py')
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if 'none.py' in line]
    assert len(lines) == 1 and lines[0].startswith('train.py: error: none.py')
    assert 'Traceback' not in done.stderr


def test_train__missing_data_root_is_one_line(tmp_path):
    done = call_script(
        REPO / 'tools' / 'train.py',
        REPO / 'configs/yolov9/yolov9-t_1xb16-200e_neu-det-labeled20.py',
        '--work-dir', tmp_path / 'out', '--cfg-options',
        f'train_dataloader.dataset.data_root={tmp_path / "none"}',
    )  # fmt: skip
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert last.startswith('train.py: error: data root ')
    assert str(tmp_path / 'none') in last
    assert 'Traceback' not in done.stderr


def test_lock__is_what_runs_here():
    lines = (REPO / 'requirements' / 'lock.txt').read_text().splitlines()
    pins = dict(line.split('==') for line in lines if '==' in line)
    for name in ('mmcv', 'mmdet', 'mmengine', 'mmyolo', 'torch'):
        # A build of torch may add its platform, as in 2.9.1+cpu.
        assert version(name).split('+')[0] == pins[name], name
