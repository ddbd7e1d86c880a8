"""The compat module: mmyolo beside mmcv 2.1, checkpoints, forks."""

import functools
import http.server
import os
import pickle
import re
import subprocess
import sys
import textwrap
import threading
from collections import OrderedDict
from importlib.metadata import version
from pathlib import Path

import mmcv
import mmdet
import numpy as np
import pytest
import torch
from mmengine.hooks import CheckpointHook, EMAHook
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.model import BaseModel
from mmengine.runner import Runner
from mmengine.runner.checkpoint import CheckpointLoader
from torch import nn

import dsym

REPO = Path(__file__).resolve().parents[1]
PACKAGE = Path(dsym.__file__).parent


class ToyModel(BaseModel):
    """One linear layer with batch norm on random points."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))

    def forward(self, inputs, mode='tensor'):
        return {'loss': self.layers(inputs).square().mean()}


class Command:
    """Pickles as a call of ``os.system``."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


class Custom:
    """A class that no checkpoint needs."""

    def __setstate__(self, state):
        raise AssertionError('code of an unsafe object was run')


class GetAttr:
    """Pickles as ``getattr(owner, name)``."""

    def __init__(self, owner, name):
        self.owner, self.name = owner, name

    def __call__(self):
        """Only so that pickle takes it for a function."""

    def __reduce__(self):
        return getattr, (self.owner, self.name)


class Call:
    """Pickles as a call of a function that is pickled itself."""

    def __init__(self, function):
        self.function = function

    def __reduce__(self):
        return self.function, ()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    """Serves a folder without a word."""

    def log_message(self, *args):
        pass


def make_runner(work_dir, max_iters=2, **kwargs):
    torch.manual_seed(0)
    points = torch.arange(24.0).reshape(8, 3).sin()
    loader = torch.utils.data.DataLoader(
        [{'inputs': point} for point in points], batch_size=4
    )
    return Runner(
        model=ToyModel(),
        work_dir=str(work_dir),
        train_dataloader=loader,
        train_cfg={'by_epoch': False, 'max_iters': max_iters},
        optim_wrapper={'optimizer': {'type': 'Adam', 'lr': 0.01}},
        param_scheduler={'type': 'LinearLR', 'end': 4, 'by_epoch': False},
        default_hooks={
            'checkpoint': {
                'type': CheckpointHook, 'by_epoch': False, 'interval': 1},
            'logger': {'type': 'LoggerHook', 'interval': 1},
        },
        custom_hooks=[{'type': EMAHook}],
        experiment_name=Path(work_dir).name,
        **kwargs)  # fmt: skip


def state_of(runner):
    return {
        name: value.clone()
        for name, value in runner.model.state_dict().items()
    }


def assert_same(left, right):
    assert left.keys() == right.keys()
    for name, value in left.items():
        torch.testing.assert_close(value, right[name], rtol=0, atol=0)


def run_python(code, *pythonpath):
    path = os.pathsep.join([*map(str, pythonpath), str(PACKAGE.parent)])
    return subprocess.run(
        [sys.executable, '-c', textwrap.dedent(code)],
        env={**os.environ, 'PYTHONPATH': path},
        capture_output=True,
        text=True,
    )


def test_mmcv_version__is_restored():
    assert mmcv.__version__ == version('mmcv')


def test_mmyolo__imports_and_its_models_build():
    import mmyolo
    from mmyolo.registry import MODELS
    from mmyolo.utils import register_all_modules

    register_all_modules()
    assert mmyolo.__version__.startswith('0.')
    assert MODELS.get('YOLOv8Head') is not None


def test_mmyolo__without_dsym_is_refused():
    # The day this fails, mmyolo's assertion has gone and so may our step.
    found = run_python('import mmyolo')
    assert found.returncode and 'is used but incompatible' in found.stderr


def test_checkpoint__of_a_real_run_resumes_as_if_never_stopped(tmp_path):
    straight = make_runner(tmp_path / 'straight', max_iters=4)
    straight.train()
    make_runner(tmp_path / 'first').train()
    saved = tmp_path / 'first' / 'iter_2.pth'
    resumed = make_runner(
        tmp_path / 'resumed', max_iters=4, load_from=str(saved), resume=True
    )
    resumed.train()
    assert resumed.iter == 4
    assert_same(state_of(straight), state_of(resumed))

    checkpoint = CheckpointLoader.load_checkpoint(str(saved))
    assert checkpoint['meta']['iter'] == 2
    assert {'state_dict', 'ema_state_dict', 'optimizer', 'message_hub',
            'param_schedulers'} <= checkpoint.keys()  # fmt: skip
    history, counts = checkpoint['message_hub']['log_scalars'][
        'train/loss'
    ].data
    assert history.shape == counts.shape == (2,)
    now, _ = MessageHub.get_current_instance().get_scalar('train/loss').data
    np.testing.assert_array_equal(now[:2], history)


def test_checkpoint__plain_torch_load_reads_it_too(tmp_path):
    make_runner(tmp_path / 'plain').train()
    checkpoint = torch.load(tmp_path / 'plain' / 'iter_2.pth')
    assert checkpoint['state_dict']['layers.0.weight'].shape == (4, 3)


@pytest.mark.parametrize('value', [
    np.arange(6, dtype=np.float32).reshape(2, 3),
    np.float64(0.5),
    np.int64(7),
    np.array([True, False]),
], ids=['float32', 'float64 scalar', 'int64 scalar', 'bool'])  # fmt: skip
def test_checkpoint__numpy_values_survive(tmp_path, value):
    path = tmp_path / 'numpy.pth'
    torch.save({'meta': {'value': value}}, path)
    loaded = CheckpointLoader.load_checkpoint(str(path))['meta']['value']
    assert loaded.dtype == value.dtype
    np.testing.assert_array_equal(loaded, value)


@pytest.mark.parametrize(
    'payload, named',
    [
        (lambda mark: Command(f'touch {mark}'), r'(posix|os)\.system'),
        (lambda mark: Custom(), r'\S*Custom'),
        (lambda mark: GetAttr(OrderedDict, 'update'), 'getattr.OrderedDict,'),
        (lambda mark: GetAttr(HistoryBuffer, '__init__'), 'getattr.History'),
        (lambda mark: Call(GetAttr(HistoryBuffer, 'mean')), '.*HistoryBuffer'),
    ],
    ids=['os.system', 'class', 'getattr', 'private getattr', 'method call'],
)
def test_checkpoint__unsafe_object_is_refused(tmp_path, payload, named):
    mark, path = tmp_path / 'mark', tmp_path / 'unsafe.pth'
    torch.save({'state_dict': {}, 'extra': payload(mark)}, path)
    with pytest.raises(pickle.UnpicklingError) as caught:
        CheckpointLoader.load_checkpoint(str(path))
    message = str(caught.value)
    assert '\n' not in message
    assert re.match(f'{re.escape(str(path))} holds {named}', message), message
    assert 'declare the class with torch.serialization.add_safe_gl' in message
    assert not mark.exists()


def test_checkpoint__damaged_files_are_named(tmp_path):
    whole = tmp_path / 'whole.pth'
    torch.save({'state_dict': ToyModel().state_dict()}, whole)
    cut = tmp_path / 'cut.pth'
    cut.write_bytes(whole.read_bytes()[:1000])
    text = tmp_path / 'text.pth'
    text.write_text('version https://git-lfs')
    prose = tmp_path / 'prose.pth'
    prose.write_text('hello, no weights here')  # KeyError: 101
    empty = tmp_path / 'empty.pth'
    empty.touch()
    for path in (cut, text, prose, empty):
        with pytest.raises(pickle.UnpicklingError) as caught:
            CheckpointLoader.load_checkpoint(str(path))
        assert str(caught.value).startswith(f'{path} is damaged or not a')
    with pytest.raises(FileNotFoundError, match=r'none\.pth can not be found'):
        CheckpointLoader.load_checkpoint(str(tmp_path / 'none.pth'))


def test_checkpoint__from_a_url_is_checked_too(tmp_path, monkeypatch):
    site = tmp_path / 'site'
    site.mkdir()
    weights = ToyModel().state_dict()
    torch.save({'state_dict': weights}, site / 'good.pth')
    mark = tmp_path / 'mark'
    torch.save({'extra': Command(f'touch {mark}')}, site / 'bad.pth')
    handler = functools.partial(QuietHandler, directory=site)
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'home'))
    with http.server.ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f'http://127.0.0.1:{server.server_port}'
        good = CheckpointLoader.load_checkpoint(f'{url}/good.pth', 'cpu')
        with pytest.raises(pickle.UnpicklingError, match=r'bad\.pth holds'):
            CheckpointLoader.load_checkpoint(f'{url}/bad.pth', 'cpu')
        server.shutdown()
    assert_same(good['state_dict'], weights)
    assert not mark.exists()


def test_fork__with_a_newer_mmcv_and_mmdet_imports(tmp_path):
    # Like onedl-mmdetection: the same import name, a newer mmcv wanted.
    fork = tmp_path / 'mmdet'
    fork.mkdir()
    (fork / '__init__.py').write_text(
        'import mmcv\n'
        'assert mmcv.__version__ == "2.3.0", mmcv.__version__\n'
        '__version__ = "3.4.0"\n'
        f'__path__ = [{str(Path(mmdet.__file__).parent)!r}]\n'
    )
    found = run_python(
        """
        import mmcv
        mmcv.__version__ = '2.3.0'
        import dsym
        import mmdet
        from mmyolo.models import YOLOv8Head
        print(mmcv.__version__, mmdet.__version__)
        """,
        tmp_path,
    )
    assert found.stdout.split() == ['2.3.0', '3.4.0'], found.stderr


def test_toolbox_missing__is_one_line(tmp_path):
    found = run_python("""
        import sys
        sys.modules['mmcv'] = None
        import dsym
        """)
    last = found.stderr.strip().splitlines()[-1]
    assert 'dsym needs the package mmcv' in last and 'make env' in last


def test_versions_and_weights_only__are_known_to_compat_alone():
    pattern = re.compile(r'weights_only|mmcv\.__version__|safe_globals')
    # The converter of foreign weights reads their pickles by itself.
    exempt = {'.mim', 'model_converters'}
    found = [
        path.relative_to(REPO).as_posix()
        for folder in (PACKAGE, REPO / 'configs', REPO / 'tools')
        for path in folder.rglob('*.py')
        if not exempt & {*path.parts} and pattern.search(path.read_text())
    ]
    assert found == ['projects/dsym/compat.py']
