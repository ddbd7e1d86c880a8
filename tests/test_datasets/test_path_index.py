"""Lists on disk: the same as reading them whole, and flat in memory."""

import json
import os
import subprocess
import sys

import pytest

from dsym.datasets import path_index
from dsym.datasets.file_index import IMAGE_SUFFIXES
from dsym.datasets.issues import DatasetError
from dsym.datasets.path_index import (
    PathIndex,
    list_folder,
    list_once,
    walk_files,
)

LINES = ['a.png', 'b/ü.png', '\udcfc.png', '', 'c d.png', '', '', 'last.png']
MEASURE = """
import json, resource, sys
from dsym.datasets import PermutedSampler, StreamedImageDataset

for file in sys.argv[2:]:
    data = StreamedImageDataset(ann_file=file, cache_dir=sys.argv[1])
    for place, index in zip(range(1000), PermutedSampler(data, seed=0)):
        data.paths[index]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps([len(data), peak]))
"""
# Of folders, where the names take as much as the paths of a list.
MEASURE_FOLDERS = """
import json, resource, sys
from dsym.datasets.path_index import list_folder

for folder in sys.argv[2:]:
    file = list_folder(folder, sys.argv[1])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(json.dumps([str(file), peak]))
"""


@pytest.mark.parametrize('end', ['\n', '\r\n'])
@pytest.mark.parametrize('block', [1, 7, 1 << 22])
@pytest.mark.parametrize('closed', [True, False])
def test_lines__as_read_whole(tmp_path, monkeypatch, end, block, closed):
    monkeypatch.setattr(path_index, 'BLOCK', block)
    text = end.join(LINES) + (end if closed else '')
    (tmp_path / 'list.txt').write_bytes(os.fsencode(text))
    index = PathIndex(tmp_path / 'list.txt', tmp_path / 'cache')
    expected = [x for x in LINES if x]
    assert len(index) == len(expected)
    assert [index[i] for i in range(len(index))] == expected
    for outside in (-1, len(expected)):
        with pytest.raises(IndexError):
            index[outside]


def test_list__changed_is_read_anew(tmp_path):
    file = tmp_path / 'list.txt'
    file.write_text('a\nb\n')
    assert len(PathIndex(file, tmp_path)) == 2
    file.write_text('a\nbb\nc\n')
    assert PathIndex(file, tmp_path)[2] == 'c'


def test_list__missing_or_empty(tmp_path):
    with pytest.raises(DatasetError, match='does not exist'):
        PathIndex(tmp_path / 'no.txt', tmp_path)
    (tmp_path / 'empty.txt').write_text('\n \n\n')
    with pytest.raises(DatasetError, match='has no line'):
        PathIndex(tmp_path / 'empty.txt', tmp_path)


def test_walk__of_all_subfolders(tmp_path):
    names = [
        'b.png', 'a.JPG', 'x/c.bmp', 'x/y/d.tif', 'x/note.txt', '.h.png',
    ]  # fmt: skip
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()

    def walked(*options):
        return [
            x.removeprefix(f'{tmp_path}/')
            for x in walk_files(tmp_path, *options)
        ]

    images = ['a.JPG', 'b.png', 'x/c.bmp', 'x/y/d.tif']
    assert walked(IMAGE_SUFFIXES) == images
    assert walked() == [*images[:3], 'x/note.txt', images[3]]
    assert walked(('.bmp', '.tif')) == images[2:]
    assert walked((), tmp_path / 'x/y') == [*images[:3], 'x/note.txt']


def test_walk__order_of_python(tmp_path):
    """Also where UTF-16 would order otherwise, and of folders."""
    names = ['b', 'B', 'a10', 'a9', 'ä', '\uffee', '\U0001f600', "it's", 'a b']
    for name in names:
        (tmp_path / f'{name}.png').touch()
        (tmp_path / name).mkdir()
        (tmp_path / name / 'x.png').touch()
    found = [x.removeprefix(f'{tmp_path}/') for x in walk_files(tmp_path)]
    expected = sorted(f'{x}.png' for x in names)
    assert found == expected + [f'{x}/x.png' for x in sorted(names)]


def test_walk__folders_that_are_gone_or_lead_nowhere(tmp_path):
    assert [*walk_files(tmp_path / 'gone')] == []
    (tmp_path / 'broken.png').symlink_to(tmp_path / 'nothing')
    assert [*walk_files(tmp_path)] == [f'{tmp_path}/broken.png']
    (tmp_path / 'loop').symlink_to(tmp_path / 'loop')
    with pytest.raises(DatasetError, match=r"loop' cannot be read .*move it"):
        list(walk_files(tmp_path))


def test_list_folder__one_list_for_each_content(tmp_path):
    folder, cache = tmp_path / 'images', tmp_path / 'cache'
    folder.mkdir()
    with pytest.raises(DatasetError, match='holds no image'):
        list_folder(folder, cache)
    (folder / 'a.png').touch()
    first = list_folder(folder, cache)
    before = first.stat().st_mtime_ns
    assert list_folder(folder, cache) == first
    assert first.stat().st_mtime_ns == before
    (folder / 'b.png').touch()
    second = list_folder(folder, cache)
    assert first.read_text() == f'{folder}/a.png\n'
    assert second.read_text() == f'{folder}/a.png\n{folder}/b.png\n'
    assert sorted(cache.iterdir()) == sorted([first, second])
    for missing in (tmp_path / 'no', ''):
        with pytest.raises(DatasetError, match='does not exist'):
            list_folder(missing, cache)


def measure(code, *arguments):
    """What a new process says of a small and of a large list."""
    done = subprocess.run(
        [sys.executable, '-c', code, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=True,
    )
    return map(json.loads, done.stdout.splitlines()[-2:])


def test_memory__flat_from_1_000_to_1_000_000(tmp_path):
    files = []
    for count in (1_000, 1_000_000):
        files.append(tmp_path / f'{count}.txt')
        with files[-1].open('w') as out:
            for i in range(count):
                out.write(f'/a/folder/of/many/images/{i:09d}.png\n')
    small, large = measure(MEASURE, tmp_path, *files)
    assert (small[0], large[0]) == (1_000, 1_000_000)
    # a million such paths as Python's texts take more than 80 MiB
    assert large[1] - small[1] < 10


def test_memory__of_a_folder_flat_from_1_000_to_120_000(tmp_path):
    folders, count = [], 120_000
    for number in (1_000, count):
        folders.append(tmp_path / str(number))
        folders[-1].mkdir()
        for i in range(number):
            # 7 has no common factor with the count: in no order
            name = f'{i * 7 % number:0100d}.png'
            os.close(os.open(folders[-1] / name, os.O_CREAT))
    small, large = measure(MEASURE_FOLDERS, tmp_path / 'lists', *folders)
    with open(large[0]) as file:
        for i, line in enumerate(file):
            assert line == f'{folders[1]}/{i:0100d}.png\n'
    assert i == count - 1
    # such names as Python's texts take 153 bytes each: 18 MiB
    assert large[1] - small[1] < 10


def test_list_that_cannot_be_written__is_one_error_of_all_ranks(tmp_path):
    (tmp_path / 'a.png').touch()
    (tmp_path / 'cache').touch()
    with pytest.raises(DatasetError, match='cannot be written'):
        list_once(tmp_path, tmp_path / 'cache')


def test_lines__mark_of_utf8_and_spaces_do_not_count(tmp_path):
    content = b'\xef\xbb\xbfa.png\r\n  b c.png \r\n'
    (tmp_path / 'list.txt').write_bytes(content)
    index = PathIndex(tmp_path / 'list.txt', tmp_path / 'cache')
    assert [index[0], index[1]] == ['a.png', 'b c.png']


@pytest.mark.parametrize('mark', [b'', b'\xef\xbb\xbf'])
@pytest.mark.parametrize('block', [1, 7, 1 << 22])
@pytest.mark.parametrize(
    'content',
    [
        b'a.png\r\n   \r\n\r\n\tb.png \nc.png',
        b' \t\r\na.png\n\v\f\n\tb.png\r\n  c.png\n \n  ',
    ],
)
def test_lines__of_spaces_do_not_count(
    tmp_path, monkeypatch, content, block, mark
):
    monkeypatch.setattr(path_index, 'BLOCK', block)
    (tmp_path / 'list.txt').write_bytes(mark + content)
    index = PathIndex(tmp_path / 'list.txt', tmp_path / 'cache')
    assert [index[i] for i in range(len(index))] == ['a.png', 'b.png', 'c.png']
