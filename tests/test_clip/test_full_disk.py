"""FeatureCache on a disk without room."""

import uuid
from types import SimpleNamespace

import pytest
import torch

from dsym.clip.cache import FeatureCache
from dsym.errors import InputError


def test_full_disk__is_told_in_one_line_and_leaves_nothing(
    tmp_path, monkeypatch
):
    path = tmp_path / '1.png'
    path.write_bytes(b'1')
    folder = tmp_path / 'cache' / 'key'
    folder.mkdir(parents=True)
    # a device that never has room, where the shard is to be written
    (folder / 'full.npy.tmp').symlink_to('/dev/full')
    cache = FeatureCache(
        lambda paths: torch.ones(len(paths), 2), 'key', tmp_path / 'cache'
    )
    with monkeypatch.context() as patch:
        patch.setattr(uuid, 'uuid4', lambda: SimpleNamespace(hex='full'))
        with pytest.raises(InputError) as error:
            cache.warm([str(path)])
    text = str(error.value)
    assert str(folder) in text and 'No space left' in text
    assert 'another cache_dir' in text and '\n' not in text
    assert not [*folder.glob('*.npy*')]
    assert cache([str(path)]).tolist() == [[1, 1]]


def test_full_index__is_told_in_one_line(tmp_path):
    """Digests of files are written before any shard."""
    paths = [tmp_path / f'{i}.png' for i in range(200)]
    for path in paths:
        path.write_bytes(path.name.encode())
    cache = FeatureCache(
        lambda paths: torch.ones(len(paths), 2), 'key', tmp_path / 'cache'
    )
    (pages,) = cache.store.index.execute('PRAGMA page_count').fetchone()
    cache.store.index.execute(f'PRAGMA max_page_count={pages}')
    with pytest.raises(InputError, match=r'full.*another cache_dir'):
        cache.warm([str(path) for path in paths])
