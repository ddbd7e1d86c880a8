"""Files, folders and videos give every image once."""

import logging
import os
from pathlib import Path

import numpy as np
import pytest
from tiny_detector import picture, write_pictures, write_video

from dsym.errors import InputError
from dsym.inference.sources import (
    ImageFiles,
    ImageFolder,
    Video,
    check_apart,
    missing_frames,
    open_source,
)


def test_folder__recursive_in_order_without_results(tmp_path):
    names = ['b.png', 'sub/a.png', 'a.png', 'out/drawn/a.png', '.x/h.png']
    write_pictures(tmp_path, names)
    (tmp_path / 'notes.txt').write_text('x')
    source = open_source([str(tmp_path)], tmp_path / 'out')
    assert isinstance(source, ImageFolder)
    frames = list(source)
    assert [x.name for x in frames] == ['a.png', 'b.png', 'sub/a.png']
    assert len(source) == 3 and source.others == 1
    np.testing.assert_array_equal(frames[0].image, picture(seed=2))


def test_folder__names_of_any_bytes(tmp_path):
    write_pictures(tmp_path, ['a.png'])
    names = [os.fsdecode(x) for x in (b'a\nb.png', b'\xfc.png')]
    for name in names:
        os.link(tmp_path / 'a.png', tmp_path / name)
    frames = list(ImageFolder(tmp_path))
    assert [x.name for x in frames] == [names[0], 'a.png', names[1]]
    for frame in frames:
        np.testing.assert_array_equal(frame.image, frames[0].image)


def test_folder__is_read_as_it_is_asked_for(tmp_path, monkeypatch):
    write_pictures(tmp_path, ['a.png', 'b.png', 'c.png'])
    read = []
    monkeypatch.setattr(
        'dsym.inference.sources.read_frame', lambda p, n: read.append(n)
    )
    next(iter(ImageFolder(tmp_path)))
    assert read == ['a.png']


def test_files__names_below_the_common_folder(tmp_path):
    write_pictures(tmp_path, ['x/1.png', 'y/z/1.png'])
    source = open_source(
        [str(tmp_path / 'x/1.png'), str(tmp_path / 'y/z/1.png')], tmp_path
    )
    assert isinstance(source, ImageFiles) and source.root == tmp_path
    assert [x.name for x in source] == ['x/1.png', 'y/z/1.png']


def test_cut_off_file__is_a_frame_with_an_error(tmp_path):
    write_pictures(tmp_path, ['a.png'])
    content = (tmp_path / 'a.png').read_bytes()
    (tmp_path / 'a.png').write_bytes(content[: len(content) // 2])
    (frame,) = ImageFolder(tmp_path)
    assert frame.image is None and frame.error


def test_video__frames_and_times(tmp_path):
    source = open_source(
        [str(write_video(tmp_path / 'v.mp4', frames=6, fps=5))], tmp_path
    )
    assert isinstance(source, Video)
    frames = list(source)
    assert len(frames) == len(source) == 6
    assert [x.index for x in frames] == list(range(6))
    assert [x.time for x in frames] == pytest.approx(np.arange(6) / 5)
    assert {x.image.shape for x in frames} == {(48, 64, 3)}
    assert len({x.name for x in frames}) == 6


def test_cut_off_video__is_said(tmp_path, caplog, monkeypatch):
    source = Video(write_video(tmp_path / 'v.mp4'))
    source.count = 8
    said = []
    monkeypatch.setattr(
        'dsym.inference.sources.print_log', lambda *a: said.append(a)
    )
    assert len(list(source)) == 6
    assert '6 frames were read of the 8' in said[0][0]
    assert said[0][2] == logging.WARNING
    assert source.missing == 0  # a few frames are no sign
    source.count = 12
    assert len(list(source)) == 6
    assert source.missing == 6


@pytest.mark.parametrize(
    ('announced', 'read', 'place', 'expected'),
    [
        (100, 100, 3960.0, 0),
        (100, 40, 1560.0, 60),
        (100, 40, 0.0, 60),  # nothing tells the time
        (100, 40, 3960.0, 0),  # 10 frames a second, announced as 25
        (0, 40, 1560.0, 0),
        (100, 0, 0.0, 100),
    ],
)
def test_missing_frames__by_number_and_time(announced, read, place, expected):
    assert missing_frames(announced, read, place, fps=25.0) == expected


def test_results_among_images__are_refused(tmp_path, monkeypatch):
    write_pictures(tmp_path, ['in/a.png', 'out/drawn/a.png', 'out/x/b.png'])
    (tmp_path / 'link').symlink_to(tmp_path / 'in')
    monkeypatch.chdir(tmp_path)
    for root, out in (
        ('in', 'in'),
        ('in', 'link'),
        ('in', 'in/../in'),
        ('out/drawn', 'out'),
    ):
        with pytest.raises(InputError, match='drawings would lie among'):
            open_source([root], Path(out))
    for root, out in (('in', 'in/out'), ('in', '.'), ('out/x', 'out')):
        check_apart(Path(root), Path(out))
    # files that are named are read alone, but not over
    assert len(open_source(['in/a.png'], Path('in'))) == 1
    with pytest.raises(InputError, match='drawings would lie among'):
        open_source(['out/drawn/a.png'], Path('out'))


@pytest.mark.parametrize(
    ('inputs', 'message'),
    [
        (['no.png'], 'no.png: no such image, folder or video'),
        (['empty'], 'empty: no image'),
        (['a.txt'], 'a.txt: its suffix is none of an image'),
        (['a.png', 'empty'], 'empty: a folder or a video stands alone'),
        (['v.mp4'], 'v.mp4: OpenCV cannot read this video'),
    ],
)
def test_errors__name_the_file(tmp_path, monkeypatch, inputs, message):
    write_pictures(tmp_path, ['a.png'])
    (tmp_path / 'empty').mkdir()
    (tmp_path / 'a.txt').write_text('x')
    (tmp_path / 'v.mp4').write_text('x')
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=message):
        open_source(inputs, tmp_path / 'out')
