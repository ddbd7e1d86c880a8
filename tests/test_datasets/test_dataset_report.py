from dataset_files import write_xml

from dsym.datasets import (
    DefectVOCDataset,
    NEUDETDataset,
    check_dataset,
    format_report,
)


def test_neu_det__the_quirks_of_the_readme(neu_det_root):
    report = check_dataset(
        NEUDETDataset(data_root=neu_det_root, split=None, lazy_init=True)
    )
    assert report['num_images'] == 1800
    assert report['num_boxes'] == 3743 + 446
    assert report['num_errors'] == 0
    assert report['counts'] == {
        'duplicate_box': 3,
        'class_differs_from_name': 188,
        'same_picture': 1,
        'difficult_box': 81,
        'file_name_differs': 174,
    }

    def files(kind):
        return {
            issue['path'].replace('\\', '/').rpartition('/')[2]
            for issue in report['issues']
            if issue['kind'] == kind
        }

    assert files('duplicate_box') == {
        'crazing_120.xml',
        'inclusion_62.xml',
        'patches_198.xml',
    }
    assert len(files('class_differs_from_name')) == 123
    (same,) = (i for i in report['issues'] if i['kind'] == 'same_picture')
    assert 'patches_101' in same['message']
    assert 'patches_105' in same['message']
    assert 'WARNING: 188 boxes of another class than the file name in 123' in (
        format_report(report)
    )


def test_all_faults_are_reported__not_only_the_first(voc_root):
    images, anns = voc_root / 'JPEGImages', voc_root / 'Annotations'
    (images / 'cut.jpg').write_bytes((images / 'a.jpg').read_bytes()[:500])
    (images / 'copy.jpg').write_bytes((images / 'b.jpg').read_bytes())
    for stem in ('cut', 'copy', 'gone'):
        write_xml(anns / f'{stem}.xml', [])
    (images / 'bare.jpg').write_bytes((images / 'a.jpg').read_bytes())
    (anns / 'a.xml').write_text('<annotation')
    report = check_dataset(
        DefectVOCDataset(
            data_root=str(voc_root),
            metainfo={'classes': ('scratch',)},
            lazy_init=True,
        )
    )
    assert report['counts'] == {
        'missing_image': 1,
        'missing_annotation': 1,
        'corrupt_image': 1,
        'malformed_annotation': 1,
        'unknown_class': 2,
        'same_picture': 1,
    }
    assert report['num_errors'] == 6
    text = format_report(report)
    assert text.endswith('6 errors')
    for name in ('gone', 'bare.jpg', 'cut.jpg', 'a.xml', 'copy.jpg', 'dent'):
        assert name in text


def test_unusable__is_an_error_too(tmp_path):
    dataset = NEUDETDataset(data_root=str(tmp_path / 'x'), lazy_init=True)
    report = check_dataset(dataset)
    assert report['num_errors'] == 1
    assert 'does not exist' in format_report(report)
