"""Mistakes in the input, as the command line shows them: one line, status 2.

What each check finds is tested beside the code; here it goes all the way
through ``tools/train.py`` and ``tools/test.py``.
"""

import shutil
from collections import namedtuple
from pathlib import Path

import pytest
import torch
from dataset_files import session_cache, voc_root  # noqa: F401
from tiny_run import call_script, write_config

REPO = Path(__file__).resolve().parents[1]
TRAIN, TEST = REPO / 'tools/train.py', REPO / 'tools/test.py'
Usage = namedtuple('Usage', 'total used free')
CONFIG = """
_base_ = './tiny.py'
experiment_name = {name!r}  # else one logger for the runs of a second
voc = dict(
    _delete_=True, type='DefectVOCDataset', data_root={root!r},
    ann_file={ann_file!r}, metainfo=dict(classes=('scratch', 'dent')))
train_dataloader = dict(
    dataset=dict(pipeline=_base_.dataset.pipeline, **voc))
val_dataloader = dict(dataset=dict(
    pipeline=_base_.test_dataset.pipeline, test_mode=True, **voc))
test_dataloader = val_dataloader
model = dict(bbox_head=dict(head_module=dict(num_classes=2)))
"""


@pytest.fixture
def config(tmp_path, voc_root):  # noqa: F811
    """The tiny run on the data of ``voc_root``; a function of ``ann_file``."""

    def write(ann_file=''):
        write_config(tmp_path, REPO / 'configs')
        path = tmp_path / 'voc.py'
        path.write_text(
            CONFIG.format(
                name=tmp_path.name,
                root=voc_root.as_posix(),
                ann_file=ann_file,
            )
        )
        return path

    return write


def other_architecture(folder):
    """Write a checkpoint of one convolution."""
    path = folder / 'other.pth'
    state = torch.nn.Conv2d(3, 8, 3).state_dict(prefix='stem.')
    torch.save({'state_dict': state, 'meta': {}}, path)
    return path


def load_other_architecture(config, folder, patch):
    path = other_architecture(folder)
    return TRAIN, config(), '--cfg-options', f'load_from={path}'


def evaluate_other_architecture(config, folder, patch):
    return TEST, config(), other_architecture(folder)


def missing_config_of_several_processes(config, folder, patch):
    return TRAIN, folder / 'none.py', '--launcher', 'pytorch'


def xml_for_a_missing_image(config, folder, patch):
    (folder / 'voc/JPEGImages/b.jpg').unlink()
    return TRAIN, config()


def class_not_in_the_list(config, folder, patch):
    path = folder / 'voc/Annotations/b.xml'
    path.write_text(path.read_text().replace('dent', 'hole', 1))
    return TRAIN, config()


def empty_split(config, folder, patch):
    (folder / 'voc/train.txt').write_text('\n')
    return TRAIN, config('train.txt')


def too_little_disk(config, folder, patch):
    usage = Usage(2**30, 2**30 - 2**20, 2**20)
    patch.setattr(shutil, 'disk_usage', lambda path: usage)
    return TRAIN, config()


# What the line says of the place and of the remedy.
MISTAKES = {
    load_other_architecture: ('other.pth fits 0 of the', 'give the config'),
    evaluate_other_architecture: ('other.pth fits 0 of', 'give the config'),
    missing_config_of_several_processes: (
        'none.py: No such file',
        'give the path of an existing file',
    ),
    xml_for_a_missing_image: (
        "voc/Annotations/b.xml names the image 'b', which is not in",
        'restore the image or remove the entry',
    ),
    class_not_in_the_list: (
        "voc/Annotations/b.xml: object 1 has the class 'hole'",
        'add it to metainfo.classes or correct the file',
    ),
    empty_split: ('voc/train.txt is empty', 'write one image name a line'),
    too_little_disk: ('but only 1 MB are free', 'choose another work_dir'),
}


@pytest.mark.parametrize('mistake', MISTAKES, ids=lambda case: case.__name__)
def test_mistake__is_one_line(config, tmp_path, monkeypatch, mistake):
    script, *arguments = mistake(config, tmp_path, monkeypatch)
    done = call_script(script, '--work-dir', tmp_path / 'out', *arguments)
    assert done.returncode == 2, done.stderr[-3000:]
    assert 'Traceback' not in done.stderr
    (line,) = done.stderr.splitlines()
    assert line.startswith(f'{script.name}: error: ')
    assert all(part in line for part in MISTAKES[mistake])
    assert not list(tmp_path.glob('out/*.pth'))


def test_truncated_image__is_skipped_and_counted(config, tmp_path):
    whole = tmp_path / 'voc/JPEGImages/a.jpg'
    cut = whole.with_name('c.jpg')
    cut.write_bytes(whole.read_bytes()[:-300])
    shutil.copy(
        tmp_path / 'voc/Annotations/a.xml', tmp_path / 'voc/Annotations/c.xml'
    )
    done = call_script(TRAIN, config(), '--work-dir', tmp_path / 'out')
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / 'out/epoch_1.pth').is_file()
    (log,) = tmp_path.glob('out/*/*.log')
    text = log.read_text()
    assert f'1 corrupt or truncated images (skipped): {cut}' in text
    assert '2 images, 3 boxes' in text
