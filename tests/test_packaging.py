"""What a wheel and an editable install hold, and that they work."""

import os
import subprocess
import sys
import zipfile
from importlib.metadata import version
from pathlib import Path

import mmdet
import pytest

REPO = Path(__file__).resolve().parents[1]
MMDET_TOOLS = Path(mmdet.__file__).parent / '.mim' / 'tools'


def run(*command, cwd, **variables):
    """Run a command away from the checkout, without its PYTHONPATH."""
    environment = {**os.environ, 'OMP_NUM_THREADS': '1', **variables}
    if 'PYTHONPATH' not in variables:
        environment.pop('PYTHONPATH', None)
    return subprocess.run(
        list(map(str, command)),
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
    )


def pip(*arguments, cwd):
    done = run(
        sys.executable, '-m', 'pip', '--disable-pip-version-check',
        *arguments, '--no-deps', '--no-build-isolation', cwd=cwd,
    )  # fmt: skip
    assert not done.returncode, done.stderr[-2000:]


def tracked(*patterns):
    """Return the committed files that match, as git lists them."""
    command = ['git', '-C', str(REPO), 'ls-files', '-z', *patterns]
    found = subprocess.run(command, capture_output=True, text=True)
    if found.returncode:
        pytest.skip('not a git checkout: the files to expect are unknown')
    return {name for name in found.stdout.split('\0') if name}


@pytest.fixture(scope='module')
def source(tmp_path_factory):
    """A copy of the committed files, so that a build leaves no traces."""
    copy = tmp_path_factory.mktemp('source')
    for name in tracked('.'):
        target = copy / name
        if (REPO / name).is_file():  # git also lists what was just deleted
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((REPO / name).read_bytes())
            target.chmod((REPO / name).stat().st_mode)
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


def write_config(folder, base):
    """Write a config like a user's, in a folder of his own."""
    path = folder / 'mine.py'
    path.write_text(
        f'_base_ = [{base.as_posix()!r}]\n'
        "custom_imports = dict(imports=['dsym'])\n"
    )
    return path


def test_wheel__holds_package_configs_and_tools(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    expected = {
        f'dsym/.mim/{name}'
        for name in tracked('configs', 'tools', 'model-index.yml')
        if not name.startswith('tools/dev/') and (REPO / name).is_file()
    }
    expected |= {
        name.removeprefix('projects/')
        for name in tracked('projects/dsym')
        if (REPO / name).is_file()
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


def test_wheel__imports_and_finds_its_configs_elsewhere(installed, tmp_path):
    configs = installed / 'dsym' / '.mim' / 'configs'
    bases = sorted(configs.rglob('yolov9_t_*.py'))
    assert bases
    code = (
        'import sys, dsym; from mmengine.config import Config; '
        'cfg = Config.fromfile(sys.argv[1]); '
        'print(dsym.__file__); print(cfg.model.type)'
    )
    config = write_config(tmp_path, bases[0])
    done = run(
        sys.executable, '-c', code, config, cwd=tmp_path,
        PYTHONPATH=str(installed),
    )  # fmt: skip
    place, model = done.stdout.splitlines()[-2:]
    assert Path(place) == installed / 'dsym' / '__init__.py', done.stderr
    assert model


def test_editable__links_configs_and_tools(source, tmp_path):
    target = tmp_path / 'site'
    pip('install', '-q', '--target', target, '-e', source, cwd=tmp_path)
    mim = source / 'projects' / 'dsym' / '.mim'
    for name in ('configs', 'tools', 'model-index.yml'):
        assert (mim / name).resolve() == (source / name).resolve()
    code = (
        f'import site; site.addsitedir({str(target)!r}); import dsym; '
        'print(dsym.__file__)'
    )
    done = run(sys.executable, '-c', code, cwd=tmp_path)
    expected = source / 'projects' / 'dsym' / '__init__.py'
    assert Path(done.stdout.splitlines()[-1]) == expected, done.stderr


@pytest.mark.parametrize('script', ['train.py', 'test.py'])
def test_tools__have_the_options_of_mmdet(script, tmp_path):
    path = str(REPO / 'projects')
    texts = [
        run(sys.executable, folder / script, '--help', cwd=tmp_path,
            PYTHONPATH=path).stdout
        for folder in (REPO / 'tools', MMDET_TOOLS)
    ]  # fmt: skip
    assert '--cfg-options' in texts[0]
    assert texts[0] == texts[1]


def test_train__missing_config_is_one_line(tmp_path):
    done = run(
        sys.executable, REPO / 'tools' / 'train.py', 'none.py', cwd=tmp_path,
        PYTHONPATH=str(REPO / 'projects'),
    )  # fmt: skip
    assert done.returncode == 2
    lines = [line for line in done.stderr.splitlines() if 'none.py' in line]
    assert len(lines) == 1 and lines[0].startswith('train.py: error: ')
    assert 'Traceback' not in done.stderr


def test_lock__is_what_runs_here():
    lines = (REPO / 'requirements' / 'lock.txt').read_text().splitlines()
    pins = dict(line.split('==') for line in lines if '==' in line)
    for name in ('mmcv', 'mmdet', 'mmengine', 'mmyolo', 'torch'):
        # A build of torch may add its platform, as in 2.9.1+cpu.
        assert version(name).split('+')[0] == pins[name], name
