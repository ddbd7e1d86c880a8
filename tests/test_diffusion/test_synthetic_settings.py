"""What a set of synthetic images is named after."""

import copy
import re
import shutil

import pytest
from tiny_diffusion import CLASSES, coco_steel, write_steel

from dsym.datasets import VerifiedCocoDataset
from dsym.diffusion.synthetic_settings import (
    digest,
    file_digest,
    labelled_set,
    labels_digest,
    with_digests,
)
from dsym.errors import InputError


@pytest.fixture
def folder(tmp_path):
    """A folder like a model's."""
    folder = tmp_path / 'model'
    (folder / 'unet').mkdir(parents=True)
    (folder / 'unet' / 'weights').write_bytes(b'1234')
    (folder / 'settings').write_text('{}')
    return folder


def test_digest__16_digits_of_the_content():
    first = digest([dict(a=1, b=(2, 3))])
    assert re.fullmatch('[0-9a-f]{16}', first)
    assert first == digest([dict(b=[2, 3], a=1)])
    assert first != digest([dict(a=1, b=[3, 2])])


def test_folder__its_files_names_and_contents_count(folder, tmp_path):
    first = file_digest(folder)
    other = tmp_path / 'elsewhere' / 'copy'
    shutil.copytree(folder, other)
    assert file_digest(other) == first
    (other / 'unet' / 'weights').write_bytes(b'1235')
    assert file_digest(other) != first
    (other / 'unet' / 'weights').write_bytes(b'1234')
    assert file_digest(other) == first
    (other / 'settings').rename(other / 'renamed')
    assert file_digest(other) != first


def test_file__its_content_counts_not_its_name(tmp_path):
    files = [tmp_path / name for name in 'abc']
    for file, content in zip(files, (b'1', b'1', b'2')):
        file.write_bytes(content)
    first, same, other = map(file_digest, files)
    assert first == same != other


def test_config__its_bases_count_and_its_data_root_does_not(tmp_path):
    base, leaf = tmp_path / 'base.py', tmp_path / 'leaf.py'
    text = (
        'model = dict(a={})\ntest_dataloader = dict(dataset=dict(pipeline=[]))'
    )
    leaf.write_text("_base_ = './base.py'\ndata_root = 'here'\n")

    def named(value, root):
        base.write_text(text.format(value))
        leaf.write_text(f"_base_ = './base.py'\ndata_root = '{root}'\n")
        return with_digests(dict(config=str(leaf)))['config']

    assert named(1, 'here') == named(1, 'there') != named(2, 'here')


def test_with_digests__every_path_however_deep(folder):
    settings = dict(
        painter=dict(type='P', model=str(folder), words=('x', 3)),
        gate=[dict(checkpoint=folder / 'settings'), None, 0.5],
    )
    before = copy.deepcopy(settings)
    assert with_digests(settings) == dict(
        painter=dict(type='P', model=file_digest(folder), words=['x', 3]),
        gate=[
            dict(checkpoint=file_digest(folder / 'settings')),
            None,
            0.5,
        ],
    )
    assert settings == before


def test_labels_digest__not_of_the_folder(tmp_path):
    first, second = (write_steel(tmp_path / name) for name in 'ab')
    assert labels_digest(first) == labels_digest(second)


def relabel(labelled):
    labelled.infos[1]['instances'][0]['bbox_label'] = 0


def move(labelled):
    labelled.infos[1]['instances'][0]['bbox'][2] += 0.5


def ignore(labelled):
    labelled.infos[1]['instances'][0]['ignore_flag'] = 1


def leave_out(labelled):
    labelled.infos.pop()


def rename(labelled):
    labelled.metainfo['classes'] = ['spot', 'line']


def repaint(labelled):
    """Other pixels in a file as large as before, as of a bitmap."""
    with open(labelled.infos[0]['img_path'], 'r+b') as file:
        byte = file.read()[-1]
        file.seek(-1, 2)
        file.write(bytes([byte ^ 1]))


@pytest.mark.parametrize(
    'edit', [relabel, move, ignore, leave_out, rename, repaint]
)
def test_labels_digest__of_all_that_counts(tmp_path, edit):
    labelled = write_steel(tmp_path)
    before = labels_digest(labelled)
    edit(labelled)
    assert labels_digest(labelled) != before


def test_labelled_set__what_painting_needs(tmp_path):
    config = coco_steel(tmp_path, pipeline=[])
    config.pop('type')
    dataset = VerifiedCocoDataset(**config)
    found, written = labelled_set(dataset), write_steel(tmp_path)
    assert found.metainfo == dict(classes=[*CLASSES])
    assert len(found) == len(written) == 4
    for i in range(4):
        mine, true = found.get_data_info(i), written.get_data_info(i)
        assert set(mine) == {'img_path', 'height', 'width', 'instances'}
        assert mine['img_path'] == true['img_path']
        assert (mine['height'], mine['width']) == (64, 80)
        boxes = [(x['bbox'], x['bbox_label']) for x in mine['instances']]
        assert boxes == [
            (x['bbox'], x['bbox_label']) for x in true['instances']
        ]
    assert labels_digest(found) == labels_digest(written)


def test_labelled_set__of_a_data_set_without_sizes(tmp_path):
    config = coco_steel(tmp_path, pipeline=[])
    config.pop('type')
    dataset = VerifiedCocoDataset(**config)
    whole = dataset.get_data_info
    dataset.get_data_info = lambda i: {
        key: x for key, x in whole(i).items() if key != 'height'
    }
    with pytest.raises(InputError, match="data infos have no 'height'"):
        labelled_set(dataset)
