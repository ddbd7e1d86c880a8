import os
import pickle
import socket
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.registry import DATASETS
from two_ranks import on_two_ranks

from dsym.datasets.issues import DatasetError

CONFIGS = Path(__file__).resolve().parents[2] / 'configs/dsym'
PIPELINE = [
    dict(type='LoadImageFromFile'),
    dict(
        type='mmdet.PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape'),
    ),
]


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / 'images'
    (folder / 'sub').mkdir(parents=True)
    for i, name in enumerate(['a.png', 'b.png', 'sub/c.png']):
        grey = np.full((20, 30, 3), 10 * i, np.uint8)
        assert cv2.imwrite(str(folder / name), grey)
    return folder


def build(tmp_path, **options):
    return DATASETS.build(
        dict(
            type='StreamedImageDataset',
            pipeline=PIPELINE,
            cache_dir=str(tmp_path / 'lists'),
            **options,
        )
    )


def test_folder__images_in_order_without_instances(folder, tmp_path):
    data = build(tmp_path, data_root=str(folder))
    assert len(data) == 3
    values = [int(data[i]['inputs'].float().mean()) for i in range(3)]
    assert values == [0, 10, 20]
    sample = data[2]['data_samples']
    assert sample.img_path == str(folder / 'sub/c.png')
    assert (sample.img_id, sample.ori_shape) == (2, (20, 30))
    assert data.get_data_info(0)['instances'] == []


def test_folder__relative_also_from_elsewhere(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    data = build(tmp_path, data_root='images')
    monkeypatch.chdir('/')
    for i, name in enumerate(['a.png', 'b.png', 'sub/c.png']):
        assert data.get_data_info(i)['img_path'] == str(folder / name)
    assert int(data[2]['inputs'].float().mean()) == 20


def test_second_training__leaves_the_list_of_the_first(folder, tmp_path):
    first = build(tmp_path, data_root=str(folder))
    (folder / '0.png').write_bytes((folder / 'sub/c.png').read_bytes())
    second = build(tmp_path, data_root=str(folder))
    for data in (first, pickle.loads(pickle.dumps(first))):
        values = [
            int(x['inputs'].float().mean())
            for x in map(data.__getitem__, range(len(data)))
        ]
        assert values == [0, 10, 20]
    assert len(second) == 4
    assert second.get_data_info(0)['img_path'] == str(folder / '0.png')


def test_list__paths_below_the_root(folder, tmp_path):
    (tmp_path / 'list.txt').write_text('sub/c.png\na.png\n')
    data = build(
        tmp_path,
        data_root=str(folder),
        ann_file=str(tmp_path / 'list.txt'),
        metainfo=dict(classes=('x',)),
    )
    assert [int(x['inputs'].float().mean()) for x in (data[0], data[1])] == [
        20,
        0,
    ]
    assert data.metainfo == dict(classes=('x',))


def test_damaged_image__another_one_and_a_warning(folder, tmp_path, caplog):
    (folder / 'b.png').write_bytes(b'no image')
    data = build(tmp_path, data_root=str(folder))
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    for _ in range(5):
        assert int(data[1]['inputs'].float().mean()) in (0, 20)
    logger.removeHandler(caplog.handler)
    assert "b.png' cannot be read and is replaced" in caplog.text


def test_no_image_can_be_used(tmp_path):
    folder = tmp_path / 'bad'
    folder.mkdir()
    (folder / 'a.png').write_bytes(b'no image')
    with pytest.raises(DatasetError, match=r"a\.png' and 99 others"):
        build(tmp_path, data_root=str(folder))[0]


def test_config__unlabelled_images_are_not_kept():
    name = 'dsym_yolov9-t_1xb32-60e_neu-det-{}.py'
    streamed, listed = (
        [
            dict(x)
            for x in Config.fromfile(
                CONFIGS / name.format(kind)
            ).train_cfg.unlabeled_dataloader.dataset.pipeline
        ]
        for kind in ('streamed', 'semi20')
    )
    changed = [i for i, x in enumerate(streamed) if x != listed[i]]
    assert len(streamed) == len(listed) and len(changed) == 1
    assert streamed[changed[0]] == dict(type='LoadImageFromFile')
    assert 'LoadCachedImageFromFile' not in str(streamed)


# An image comes in after rank 0 has listed; then rank 1 does not see a list;
# then there is nothing to list.
RANKS = """
import glob, os, time
from dsym.datasets import StreamedImageDataset
from dsym.datasets.issues import DatasetError

def main(rank, folder, cache):
    def wait_for(count):
        while len(lists := glob.glob(f'{cache}/*.txt')) < count:
            time.sleep(0.01)
        return max(lists, key=os.path.getmtime)

    def refused(data_root):
        try:
            StreamedImageDataset(data_root, cache_dir=cache)
        except DatasetError as error:
            return str(error)

    if rank:
        wait_for(1)
        open(f'{folder}/0.png', 'w').close()
    data = StreamedImageDataset(folder, cache_dir=cache)
    names = [data.get_data_info(i)['img_path'] for i in range(len(data))]
    torch.distributed.barrier()
    if rank:
        os.remove(wait_for(2))
    return names, refused(folder), refused(f'{folder}/no')
"""


def test_ranks__train_on_the_list_of_the_first(folder, tmp_path):
    both, _ = on_two_ranks(RANKS, tmp_path, folder, tmp_path / 'lists')
    names = [str(folder / x) for x in ('a.png', 'b.png', 'sub/c.png')]
    for listed, gone, missing in both:
        assert listed == names
        assert f'does not exist on {socket.gethostname()}: set' in gone
        assert 'DSYM_CACHE' in gone and '\n' not in gone
        assert missing.startswith(f"folder '{folder}/no' does not exist")


def test_name_that_is_not_utf8(folder, tmp_path):
    """A name in Latin-1, as older cameras write it."""
    name = os.fsencode(folder) + b'/\xfc.png'
    with open(name, 'wb') as file:
        file.write((folder / 'sub/c.png').read_bytes())
    data = build(tmp_path, data_root=str(folder))
    assert len(data) == 4  # 0xfc comes after all of ASCII
    assert os.fsencode(data.get_data_info(2)['img_path']) == name
    assert int(data[2]['inputs'].float().mean()) == 20


def test_name_with_a_newline__is_refused(folder, tmp_path):
    (folder / 'a\nb.png').touch()
    with pytest.raises(DatasetError, match='newline') as error:
        build(tmp_path, data_root=str(folder))
    assert '\n' not in str(error.value)
    assert r'images/a\nb.png' in str(error.value)
    assert not [*(tmp_path / 'lists').iterdir()]
