"""FeatureCache: what is encoded, when, and what survives."""

import errno
import json
import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from two_ranks import on_two_ranks

import dsym.clip.feature_store
from dsym.clip.cache import FeatureCache
from dsym.clip.unreadable_image import UnreadableImageError
from dsym.errors import InputError


class Encode:
    """Features of a file: its length and its first byte, as a 2 x 1 map."""

    def __init__(self, fail=None, value=0.0):
        self.calls = []
        self.fail = fail
        self.value = value

    def __call__(self, paths):
        self.calls.append([Path(x).name for x in paths])
        contents = [Path(x).read_bytes() for x in paths]
        if self.fail in self.calls[-1]:
            raise KeyboardInterrupt
        for path, content in zip(paths, contents):
            if content == b'no image':
                raise UnreadableImageError(path, 'as an image')
        rows = [[len(x), x[0]] for x in contents]
        features = torch.tensor(rows).float()[..., None]
        bad = [x == b'bad' for x in contents]
        features[torch.tensor(bad)] = self.value
        return features

    @property
    def names(self):
        return [name for call in self.calls for name in call]


@pytest.fixture
def files(tmp_path):
    """Five files of length 1 to 5, of ones to fives."""
    (tmp_path / 'data').mkdir()
    paths = [tmp_path / 'data' / f'{i}.png' for i in range(1, 6)]
    for i, path in enumerate(paths, 1):
        path.write_bytes(bytes([i] * i))
    return [str(x) for x in paths]


EXPECTED = torch.tensor([[i, i] for i in range(1, 6)]).float()[..., None]


def cache_in(tmp_path, encode, **options):
    options = {'batch_size': 2, 'shard_size': 4, **options}
    return FeatureCache(encode, 'key', tmp_path / 'cache', **options)


def shards(tmp_path):
    return sorted((tmp_path / 'cache' / 'key').glob('*.npy'))


def test_second_call__encodes_nothing(tmp_path, files):
    encode = Encode()
    cache = cache_in(tmp_path, encode)
    assert cache.warm(files) == 5
    assert [len(x) for x in encode.calls] == [2, 2, 1]
    assert len(shards(tmp_path)) == 2
    for again in (cache, cache_in(tmp_path, encode)):
        assert again.warm(files) == 0
        features = again(files[::-1])
        assert features.dtype == torch.float32
        assert torch.equal(features, EXPECTED.flip(0))
    assert len(encode.calls) == 3


def test_reading__makes_what_is_missing(tmp_path, files):
    encode = Encode()
    cache = cache_in(tmp_path, encode)
    cache.warm(files[:2])
    assert torch.equal(cache(files), EXPECTED)
    assert encode.names == ['1.png', '2.png', '3.png', '4.png', '5.png']


def test_killed_run__keeps_the_shards_that_were_done(tmp_path, files):
    killed = cache_in(tmp_path, Encode(fail='5.png'), shard_size=2)
    with pytest.raises(KeyboardInterrupt):
        killed.warm(files)
    encode = Encode()
    again = cache_in(tmp_path, encode, shard_size=2)
    assert again.warm(files) == 1
    assert torch.equal(again(files), EXPECTED)
    assert encode.names == ['5.png']


def test_renamed_file__is_found_by_content(tmp_path, files):
    encode = Encode()
    cache_in(tmp_path, encode).warm(files)
    other = str(tmp_path / 'data' / 'other.png')
    os.rename(files[2], other)
    assert torch.equal(cache_in(tmp_path, encode)([other]), EXPECTED[2:3])
    assert len(encode.names) == 5


def test_copies__are_encoded_once(tmp_path, files):
    copy = tmp_path / 'data' / 'copy.png'
    copy.write_bytes(Path(files[0]).read_bytes())
    encode = Encode()
    features = cache_in(tmp_path, encode)([files[0], str(copy)])
    assert torch.equal(features[0], features[1])
    assert encode.names == ['1.png']


def test_changed_file__is_encoded_anew(tmp_path, files):
    encode = Encode()
    cache = cache_in(tmp_path, encode)
    cache.warm(files)
    Path(files[2]).write_bytes(bytes([9, 9, 9]))  # of the same size
    os.utime(files[2], ns=(1, 1))
    assert cache([files[2]]).flatten().tolist() == [3, 9]
    assert encode.names[5:] == ['3.png']


def test_two_caches__share_a_folder(tmp_path, files):
    first, second = Encode(), Encode()
    one, two = cache_in(tmp_path, first), cache_in(tmp_path, second)
    assert two.warm(files[:1]) == 1
    assert one.warm(files) == 4
    assert two.warm(files) == 0
    assert torch.equal(one(files), two(files))


def test_another_key__is_another_folder(tmp_path, files):
    encode = Encode()
    cache_in(tmp_path, encode).warm(files)
    other = FeatureCache(encode, 'other', tmp_path / 'cache')
    assert other.warm(files) == 5


def flip(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


def fill(path):
    """Keep the first page of an index, which names the tables."""
    content = path.read_bytes()
    path.write_bytes(content[:4096] + b'\xff' * (len(content) - 4096))


DAMAGES = dict(
    flipped=flip,
    noise=lambda path: path.write_bytes(b'no array, no index' * 400),
    short=lambda path: path.write_bytes(path.read_bytes()[:-2]),
    empty=lambda path: path.write_bytes(b''),
    missing=lambda path: path.unlink(),
    pages=fill,
    cut=lambda path: path.write_bytes(path.read_bytes()[:-5000]),
)


@pytest.mark.parametrize(
    'damage', ['flipped', 'noise', 'short', 'empty', 'missing']
)
def test_damaged_shard__is_made_anew(tmp_path, files, warnings, damage):
    cache_in(tmp_path, Encode()).warm(files)
    shard = next(x for x in shards(tmp_path) if x.stat().st_size > 136)
    DAMAGES[damage](shard)
    encode = Encode()
    assert torch.equal(cache_in(tmp_path, encode)(files), EXPECTED)
    assert sorted(encode.names) == ['1.png', '2.png', '3.png', '4.png']
    (line,) = warnings()
    assert str(shard) in line and 'made anew' in line
    assert cache_in(tmp_path, encode).warm(files) == 0


@pytest.mark.parametrize('damage', ['noise', 'cut', 'pages'])
def test_damaged_index__is_made_anew(tmp_path, files, warnings, damage):
    cache_in(tmp_path, Encode()).warm(files)
    index = tmp_path / 'cache' / 'key' / 'index.sqlite'
    DAMAGES[damage](index)
    encode = Encode()
    assert torch.equal(cache_in(tmp_path, encode)(files), EXPECTED)
    assert len(encode.names) == 5
    (line,) = warnings()
    assert str(index) in line and 'damaged' in line
    assert cache_in(tmp_path, encode).warm(files) == 0


@pytest.mark.parametrize('value', [float('nan'), float('inf'), 1e6])
def test_features_that_float16_cannot_hold__name_the_file(
    tmp_path, files, value
):
    Path(files[3]).write_bytes(b'bad')
    cache = cache_in(tmp_path, Encode(value=value), shard_size=2)
    with pytest.raises(InputError, match=r'features of .*4\.png are not'):
        cache.warm(files)
    # what was made before stays
    assert cache_in(tmp_path, Encode()).warm(files) == 3


def test_missing_image__is_named(tmp_path, files):
    gone = str(tmp_path / 'gone.png')
    with pytest.raises(InputError, match=r'gone\.png cannot be read .*take'):
        cache_in(tmp_path, Encode()).warm([*files, gone])


def test_unreadable_images__are_skipped_and_counted(tmp_path, files, warnings):
    broken = str(tmp_path / 'data' / 'broken.png')
    Path(broken).write_bytes(b'no image')
    gone = str(tmp_path / 'gone.png')
    paths = [gone, *files[:1], broken, *files[1:]]
    encode = Encode()
    cache = cache_in(tmp_path, encode)
    assert cache.warm(paths, skip=True) == 5
    (line,) = warnings()
    assert '2 images cannot be read' in line
    assert gone in line and broken in line
    tried = encode.names
    assert torch.equal(cache(files), EXPECTED) and encode.names == tried
    for path in (gone, broken):
        with pytest.raises(UnreadableImageError, match=Path(path).name):
            cache([path])


def test_nothing_but_an_unreadable_image__makes_nothing(tmp_path, warnings):
    path = tmp_path / 'broken.png'
    path.write_bytes(b'no image')
    assert cache_in(tmp_path, Encode()).warm([str(path)], skip=True) == 0
    assert len(warnings()) == 1 and not shards(tmp_path)


# an image's 2 x 1 map of float16 is 4 bytes
@pytest.mark.parametrize(('limit', 'value'), [('MAPS', 2), ('MAP_BYTES', 8)])
def test_open_shards__are_few(
    tmp_path, files, monkeypatch, warnings, limit, value
):
    monkeypatch.setattr(dsym.clip.feature_store, limit, value)
    cache_in(tmp_path, Encode(), shard_size=1).warm(files)
    encode = Encode()
    cache = cache_in(tmp_path, encode, shard_size=1)
    assert cache.warm(files[:1]) == 0  # opens index and a shard
    before = psutil.Process().num_fds()
    held = [cache(files), cache(files[::-1])]
    assert psutil.Process().num_fds() <= before + 1
    assert torch.equal(held[0], EXPECTED)
    assert torch.equal(held[1], EXPECTED.flip(0))
    assert len(shards(tmp_path)) == 5 and not encode.calls + warnings()


def test_too_many_open_files__damage_no_shard(
    tmp_path, files, monkeypatch, warnings
):
    cache_in(tmp_path, Encode()).warm(files)
    encode = Encode()
    cache = cache_in(tmp_path, encode)

    def load(*args, **kwargs):
        raise OSError(errno.EMFILE, 'Too many open files')

    with monkeypatch.context() as patch:
        patch.setattr(np, 'load', load)
        with pytest.raises(OSError, match='Too many open files'):
            cache(files)
    assert torch.equal(cache(files), EXPECTED)
    assert not encode.calls + warnings()


@pytest.mark.parametrize('shard_size', [1, 2])
def test_shard_that_vanishes_while_it_is_closed__is_made_anew(
    tmp_path, files, monkeypatch, warnings, shard_size
):
    monkeypatch.setattr(dsym.clip.feature_store, 'MAPS', 1)
    encode = Encode()
    cache = cache_in(tmp_path, encode, shard_size=shard_size)
    cache(files)  # the last one's map is left
    for shard in shards(tmp_path):
        if np.load(shard).flatten()[0] == 1:
            shard.unlink()
    assert torch.equal(cache(files[:2]), EXPECTED[:2])
    assert encode.names[5:] == ['1.png', '2.png'][:shard_size]
    assert len(warnings()) == 1


def test_hashing__lets_others_write(tmp_path, files, monkeypatch):
    cache = cache_in(tmp_path, Encode())
    cache.warm(files[:1])
    index = tmp_path / 'cache' / 'key' / 'index.sqlite'
    read, seen = Path.read_bytes, []

    def read_bytes(path):
        if path.suffix == '.png':
            other = sqlite3.connect(index, timeout=0)
            other.execute('BEGIN IMMEDIATE')  # fails while another writes
            other.close()
            seen.append(path.name)
        return read(path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, 'read_bytes', read_bytes)
        assert cache.warm(files) == 4
    # then Encode reads them
    assert seen == [f'{i}.png' for i in range(2, 6)] * 2


def test_name_that_is_not_utf8(tmp_path, files):
    other = os.fsdecode(os.fsencode(tmp_path) + b'/\xfc.png')
    os.rename(files[2], other)
    encode = Encode()
    for _ in range(2):
        features = cache_in(tmp_path, encode)([other])
        assert torch.equal(features, EXPECTED[2:3])
    assert len(encode.calls) == 1


RANKS = """
from pathlib import Path
import torch
from dsym.clip.cache import FeatureCache
from dsym.clip.unreadable_image import UnreadableImageError

def main(rank, data, folder):
    encoded = []

    def encode(paths):
        contents = [Path(x).read_bytes() for x in paths]
        if b'no image' in contents:
            raise UnreadableImageError(paths[contents.index(b'no image')])
        encoded.extend(Path(x).name for x in paths)
        return torch.tensor([[len(x)] for x in contents])

    paths = sorted(str(x) for x in Path(data).iterdir())
    cache = FeatureCache(encode, 'key', folder)
    made = cache.warm((x for x in paths), skip=True, share=True)
    first = [*encoded]
    readable = [x for x in paths if 'broken' not in x]
    return made, first, cache(readable).flatten().tolist(), encoded == first
"""


def test_ranks__each_makes_its_part(tmp_path, files):
    """Of 1, 2, 3, 4, 5, broken: every second one; the log is of both."""
    (tmp_path / 'data' / 'broken.png').write_bytes(b'no image')
    both, text = on_two_ranks(
        RANKS, tmp_path, tmp_path / 'data', tmp_path / 'cache'
    )
    values = [1, 2, 3, 4, 5]
    assert both == [
        [3, ['1.png', '3.png', '5.png'], values, True],
        [2, ['2.png', '4.png'], values, True],
    ]
    (line,) = [x for x in text.splitlines() if 'cannot be read' in x]
    assert '1 images' in line and 'broken.png' in line


# Every file is another one, so that each has its own features.
MEASURE = """
import json, os, resource, sys
import torch
from dsym.clip.cache import FeatureCache

def files(count):
    for i in range(count):
        path = f'{sys.argv[1]}/{i}'
        with open(path, 'w') as file:
            file.write(path)
        yield path

def encode(paths):
    return torch.zeros(len(paths), 8)

for count in 1_000, 50_000:
    cache = FeatureCache(encode, f'of_{count}', sys.argv[1])
    made = cache.warm(files(count))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps([made, peak]))
"""


def test_memory__flat_from_1_000_to_50_000_images(tmp_path):
    done = subprocess.run(
        [sys.executable, '-c', MEASURE, tmp_path],
        capture_output=True,
        text=True,
        check=True,
    )
    small, large = map(json.loads, done.stdout.splitlines()[-2:])
    assert (small[0], large[0]) == (1_000, 50_000)
    # such paths and hashes as Python's texts take 15 MiB in a dict
    assert large[1] - small[1] < 10
