import os

import pytest
from dataset_files import write_image

from dsym.datasets import DatasetError, YOLOTxtDataset

META = {'classes': ('scratch', 'dent')}


@pytest.fixture
def root(tmp_path):
    """40 x 30 images: one with two boxes, one without a label file."""
    write_image(tmp_path / 'images/train/a.jpg', seed=1)
    write_image(tmp_path / 'images/train/b.jpg', seed=2)
    labels = tmp_path / 'labels/train'
    labels.mkdir(parents=True)
    (labels / 'a.txt').write_text('1 0.5 0.5 0.5 0.2\n0 0.25 0.5 0.5 1\n')
    (labels / 'classes.txt').write_text('scratch\ndent\n')
    return tmp_path


def build(root, **kwargs):
    return YOLOTxtDataset(data_root=str(root), metainfo=META, **kwargs)


def test_boxes__in_pixels(root):
    dataset = build(root)
    assert len(dataset) == 2
    info = dataset.get_data_info(0)
    assert info['img_id'] == 'train/a'
    # cx 20, cy 15, w 20, h 6; cx 10, cy 15, w 20, h 30
    assert [(i['bbox_label'], i['bbox']) for i in info['instances']] == [
        (1, pytest.approx([10, 12, 30, 18])),
        (0, pytest.approx([0, 0, 20, 30])),
    ]
    assert dataset.get_data_info(1)['instances'] == []


def test_size__from_the_header_without_verifying(root):
    info = build(root, verify_images=False).get_data_info(0)
    assert (info['width'], info['height']) == (40, 30)


@pytest.mark.parametrize(
    'entry', ['train/b', 'train/b.jpg', './images/train/b.jpg']
)
def test_ann_file__names_or_paths(root, entry):
    (root / 'list.txt').write_text(f'train/a\n{entry}\n')
    dataset = build(root, ann_file='list.txt')
    assert [dataset.get_data_info(i)['img_id'] for i in (0, 1)] == [
        'train/a',
        'train/b',
    ]


def test_rounding__is_no_finding(root):
    path = root / 'labels/train/a.txt'
    path.write_text('0 0.166667 0.5 0.333334 1.000001\n')
    dataset = build(root, lazy_init=True)
    _, issues = dataset.scan()
    assert issues == []


@pytest.mark.parametrize(
    'line, part',
    [
        ('0 0.5 0.5 0.1', 'line 1 is not'),
        ('0 0.5 0.5 0.1 x', 'line 1 is not'),
        ('0 0.5 0.5 0.1 inf', 'not finite'),
        ('2 0.5 0.5 0.1 0.1', 'class 2, but there are 2 classes'),
        ('-1 0.5 0.5 0.1 0.1', 'class -1'),
        ('0.5 0.5 0.5 0.1 0.1', 'class 0.5'),
    ],
)
def test_bad_line__names_file_and_line(root, line, part):
    (root / 'labels/train/a.txt').write_text(line)
    with pytest.raises(DatasetError) as error:
        build(root)
    text = str(error.value)
    assert part in text and 'a.txt' in text and '\n' not in text


def test_label_without_image(root):
    (root / 'labels/train/c.txt').write_text('')
    with pytest.raises(DatasetError, match=r'c\.txt names the image'):
        build(root)


def test_no_label_at_all__wrong_folder_or_unlabeled(root):
    (root / 'labels/train/a.txt').unlink()
    with pytest.raises(DatasetError, match='none of the 2 images'):
        build(root)
    assert len(build(root, unlabeled=True)) == 2


def test_pixels__are_no_fractions(root):
    (root / 'labels/train/a.txt').write_text('1 20 15 10 10\n')
    with pytest.raises(DatasetError, match=r'a\.txt.*line 1 is in pixels'):
        build(root)


@pytest.mark.parametrize('encoding', ['utf-16', 'latin-1'])
def test_list_that_is_no_utf8__is_one_line(root, encoding):
    (root / 'list.txt').write_text('train/ü\n', encoding=encoding)
    with pytest.raises(DatasetError, match=r'list\.txt is no UTF-8'):
        build(root, ann_file='list.txt')


def test_folder_that_cannot_be_read__is_named(root, monkeypatch):
    """For root, whom this may be, no folder is closed."""
    scan = os.scandir

    def closed(path):
        if str(path).endswith('labels/train'):
            raise PermissionError(13, 'Permission denied', str(path))
        return scan(path)

    monkeypatch.setattr(os, 'scandir', closed)
    with pytest.raises(DatasetError, match='labels/train cannot be read'):
        build(root)


def test_hidden_folders_and_links_back_up__are_left_out(root):
    """A copy without a label file would be a picture without defects."""
    images = root / 'images'
    write_image(images / '.ipynb_checkpoints/a-checkpoint.jpg', 48, 40)
    (images / 'loop').symlink_to(images)
    (images / 'train/up').symlink_to(root)
    assert len(build(root)) == 2
