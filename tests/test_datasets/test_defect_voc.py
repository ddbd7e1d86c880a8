import logging
import shutil

import pytest
from dataset_files import write_image, write_xml
from mmengine.logging import MMLogger

from dsym.datasets import DatasetError, DefectVOCDataset

META = {'classes': ('scratch', 'dent')}


def build(root, **kwargs):
    kwargs = {'metainfo': META, **kwargs}
    return DefectVOCDataset(data_root=str(root), **kwargs)


def boxes(dataset):
    return {
        info['img_id']: [
            (i['bbox_label'], i['bbox'], i['ignore_flag'])
            for i in info['instances']
        ]
        for info in map(dataset.get_data_info, range(len(dataset)))
    }


@pytest.fixture
def warnings(caplog):
    """Lines that the data sets warn with."""
    logger = MMLogger.get_current_instance()
    logger.addHandler(caplog.handler)
    yield lambda: [
        r.getMessage() for r in caplog.records if r.levelno == logging.WARNING
    ]
    logger.removeHandler(caplog.handler)


def assert_one_line(error, *parts):
    text = str(error.value)
    assert '\n' not in text
    for part in parts:
        assert part in text, text


def test_voc__boxes_and_labels_as_written(voc_root):
    assert boxes(build(voc_root)) == {
        'a': [(0, [1, 2, 11, 22], 0)],
        'b': [(1, [5, 5, 9, 9], 0), (1, [20, 10, 40, 30], 0)],
    }


def test_one_based__subtracts_one_from_all_four(voc_root):
    assert boxes(build(voc_root, one_based=True))['a'] == [
        (0, [0, 1, 10, 21], 0)
    ]


@pytest.mark.parametrize(
    'policy, flags', [('keep', [0, 0]), ('ignore', [0, 1]), ('drop', [0])]
)
def test_difficult__policies(voc_root, policy, flags):
    found = boxes(build(voc_root, difficult=policy))['b']
    assert [flag for *_, flag in found] == flags


@pytest.mark.parametrize('loader', ['mmyolo', 'mmdet'])
def test_ignored_boxes__that_a_pipeline_drops_are_said(
    voc_root, warnings, loader
):
    """One of the two boxes of ``b`` is difficult."""
    steps = [dict(type=f'{loader}.LoadAnnotations', with_bbox=True)]
    build(voc_root, difficult='ignore', pipeline=steps)
    build(voc_root, difficult='keep', pipeline=steps)
    build(voc_root, difficult='ignore', pipeline=steps, test_mode=True)
    lost = [x for x in warnings() if 'to be ignored' in x]
    assert len(lost) == (loader == 'mmyolo')
    assert all('1 boxes are to be ignored, but mmyolo' in x for x in lost)


def test_difficult__other_word_is_refused(voc_root):
    with pytest.raises(DatasetError, match=r"'skip'.*keep, ignore, drop"):
        build(voc_root, difficult='skip')


def test_ann_file__takes_the_listed_only(voc_root):
    (voc_root / 'val.txt').write_text('b.jpg\n\n')
    assert list(boxes(build(voc_root, ann_file='val.txt'))) == ['b']


def test_other_folders_and_suffixes(tmp_path):
    write_image(tmp_path / 'x/deep/one.PNG')
    write_xml(tmp_path / 'y/one.xml', [('dent', (0, 0, 5, 5))], size=None)
    dataset = build(tmp_path, data_prefix={'img': 'x', 'ann': 'y'})
    info = dataset.get_data_info(0)
    assert (info['width'], info['height']) == (40, 30)


def test_size__from_xml_without_decoding(voc_root):
    """Not even a file that is no image is opened."""
    (voc_root / 'JPEGImages/a.jpg').write_bytes(b'no image')
    dataset = build(voc_root, verify_images=False)
    assert dataset.get_data_info(0)['width'] == 40


def test_filter__only_in_training(voc_root):
    write_xml(voc_root / 'Annotations/a.xml', [])
    cfg = {'filter_empty_gt': True}
    assert len(build(voc_root, filter_cfg=cfg)) == 1
    assert len(build(voc_root, filter_cfg=cfg, test_mode=True)) == 2
    with pytest.raises(DatasetError, match='drops all 2 images'):
        build(voc_root, filter_cfg={'min_size': 31})


def test_batch_shapes__as_mmyolo(voc_root):
    dataset = build(
        voc_root,
        test_mode=True,
        batch_shapes_cfg={
            'type': 'mmyolo.BatchShapePolicy',
            'batch_size': 2,
            'img_size': 64,
            'size_divisor': 32,
            'extra_pad_ratio': 0.0,
        },
    )
    # 40 x 30 at 64 pixels is 64 x 48, padded to multiples of 32.
    assert list(dataset.get_data_info(0)['batch_shape']) == [64, 64]


def test_missing_image__names_xml_and_remedy(voc_root):
    (voc_root / 'JPEGImages/a.jpg').unlink()
    with pytest.raises(DatasetError) as error:
        build(voc_root)
    assert_one_line(error, 'a.xml', "image 'a'", 'restore')


def test_missing_xml__names_image_and_remedy(voc_root):
    (voc_root / 'Annotations/a.xml').unlink()
    with pytest.raises(DatasetError) as error:
        build(voc_root)
    assert_one_line(error, 'a.jpg has no a.xml', 'unlabeled=True')


def test_images_of_one_name_without_annotations(voc_root):
    """No annotation has to be found by it."""
    folder = voc_root / 'JPEGImages'
    for name in ('1', '2'):
        (folder / name).mkdir()
    shutil.copy(folder / 'a.jpg', folder / '1/x.jpg')
    shutil.copy(folder / 'b.jpg', folder / '2/x.jpg')
    count = len([*folder.rglob('*.jpg')])
    assert len(build(voc_root, unlabeled=True)) == count
    with pytest.raises(DatasetError, match='share the name'):
        build(voc_root)


def test_listed_without_image(voc_root):
    (voc_root / 'val.txt').write_text('a\nzzz\n')
    with pytest.raises(DatasetError) as error:
        build(voc_root, ann_file='val.txt')
    assert_one_line(error, 'val.txt', "'zzz'")


def test_unknown_class__names_file_class_and_remedy(voc_root):
    with pytest.raises(DatasetError) as error:
        build(voc_root, metainfo={'classes': ('scratch',)})
    assert_one_line(
        error, 'b.xml', "'dent'", "('scratch',)", 'metainfo.classes', '1 more'
    )


@pytest.mark.parametrize('classes', [None, 'dent'])
def test_classes__must_be_a_sequence(voc_root, classes):
    with pytest.raises(DatasetError, match='sequence of class names'):
        build(voc_root, metainfo={'classes': classes})


@pytest.mark.parametrize(
    'text, part',
    [
        ('<annotation>', 'no valid xml'),
        ('<a><object><name>dent</name></object></a>', 'object 1 lacks'),
        (
            '<a><object><name>dent</name><bndbox><xmin>nan</xmin>'
            '<ymin>1</ymin><xmax>2</xmax><ymax>2</ymax></bndbox>'
            '</object></a>',
            'object 1 lacks',
        ),
    ],
)
def test_malformed_xml(voc_root, text, part):
    (voc_root / 'Annotations/b.xml').write_text(text)
    with pytest.raises(DatasetError) as error:
        build(voc_root)
    assert_one_line(error, 'b.xml', part, 'correct')


@pytest.mark.parametrize('content', ['', ' \n\n'])
def test_empty_split(voc_root, content):
    (voc_root / 'val.txt').write_text(content)
    with pytest.raises(DatasetError, match=r'val\.txt is empty'):
        build(voc_root, ann_file='val.txt')


def test_missing_list(voc_root):
    with pytest.raises(DatasetError, match=r'list .*no\.txt does not exist'):
        build(voc_root, ann_file='no.txt')


def test_missing_folder(voc_root):
    with pytest.raises(DatasetError, match=r'labels does not.*ann=\.\.\.'):
        build(voc_root, data_prefix={'ann': 'labels'})


def test_no_image_at_all(tmp_path):
    (tmp_path / 'JPEGImages').mkdir()
    (tmp_path / 'Annotations').mkdir()
    with pytest.raises(DatasetError, match=r'no image in .*JPEGImages'):
        build(tmp_path)


def test_two_images_of_one_name(voc_root):
    write_image(voc_root / 'JPEGImages/more/a.jpg', seed=7)
    with pytest.raises(DatasetError, match="share the name 'a'"):
        build(voc_root)


def test_boxes__clipped_and_dropped_with_a_count(voc_root, warnings):
    write_xml(
        voc_root / 'Annotations/a.xml',
        [
            ('dent', (-3, 5, 10, 35)),
            ('dent', (7, 7, 7, 9)),
            ('dent', (50, 5, 60, 9)),
        ],
    )
    assert boxes(build(voc_root))['a'] == [(1, [0, 5, 10, 30], 0)]
    text = '\n'.join(warnings())
    assert '1 boxes that reach out of the image (clipped)' in text
    assert '2 boxes without area in the image (dropped)' in text
    assert 'a.xml' in text


def test_duplicates__are_kept(voc_root, warnings):
    box = ('dent', (1, 1, 9, 9))
    write_xml(voc_root / 'Annotations/a.xml', [box, box])
    assert len(boxes(build(voc_root))['a']) == 2
    assert warnings() == []


def test_corrupt_images__skipped_with_one_warning(voc_root, warnings):
    whole = (voc_root / 'JPEGImages/a.jpg').read_bytes()
    for stem, content in (
        ('cut', whole[: len(whole) // 2]),
        ('text', b'no image'),
        ('void', b''),
    ):
        (voc_root / f'JPEGImages/{stem}.jpg').write_bytes(content)
        write_xml(voc_root / f'Annotations/{stem}.xml', [])
    assert sorted(boxes(build(voc_root))) == ['a', 'b']
    (line,) = warnings()
    assert '3 corrupt or truncated images (skipped)' in line
    for name in ('cut.jpg', 'text.jpg', 'void.jpg'):
        assert name in line


def test_all_images_corrupt(voc_root):
    for stem in 'ab':
        (voc_root / f'JPEGImages/{stem}.jpg').write_bytes(b'x')
    with pytest.raises(DatasetError, match='none of its images can be read'):
        build(voc_root)


def test_size_mismatch__true_size_and_warning(voc_root, warnings):
    write_xml(
        voc_root / 'Annotations/a.xml', [('dent', (1, 1, 9, 9))], (400, 300)
    )
    info = build(voc_root).get_data_info(0)
    assert (info['width'], info['height']) == (40, 30)
    assert 'another size than the image' in warnings()[0]


@pytest.mark.parametrize('encoding', ['gb2312', 'shift_jis', 'utf-16'])
def test_encodings__of_several_bytes(voc_root, encoding):
    """expat itself knows UTF-8 and 16 of them."""
    file = voc_root / 'Annotations/b.xml'
    text = file.read_text()
    assert not text.startswith('<?')
    head = f'<?xml version="1.0" encoding="{encoding}"?>'
    before = boxes(build(voc_root))
    text = head + text.replace('<object>', '<!-- \u65e5\u672c --><object>')
    file.write_bytes(text.encode(encoding))
    assert boxes(build(voc_root)) == before


@pytest.mark.parametrize(
    'head, content',
    [('gb2312', b'\xff\xff'), ('no-such', b''), ('ascii', b'\xe9')],
)
def test_encodings__that_do_not_fit(voc_root, head, content):
    text = f'<?xml version="1.0" encoding="{head}"?><a>'.encode()
    (voc_root / 'Annotations/b.xml').write_bytes(text + content + b'</a>')
    with pytest.raises(DatasetError) as error:
        build(voc_root)
    assert_one_line(error, 'b.xml', 'no valid xml', 'correct')
