import json
from pathlib import Path

import pytest
from dataset_files import write_image
from pycocotools.coco import COCO
from tiny_run import call_script

from dsym.datasets import DefectVOCDataset, VerifiedCocoDataset

REPO = Path(__file__).parents[2]
CLASSES = ('scratch', 'dent')


def run(tool, *args):
    """Run a tool with arguments; give status, stdout, stderr."""
    done = call_script(REPO / 'tools/dataset_converters' / tool, *args)
    return done.returncode, done.stdout, done.stderr


def test_voc_to_coco__same_boxes_when_read_back(voc_root, tmp_path):
    out = tmp_path / 'voc.json'
    status, out_text, err_text = run(
        'dataset_to_coco.py', 'voc', voc_root, '--classes', *CLASSES,
        '--difficult', 'ignore', '--out', out,
    )  # fmt: skip
    assert status == 0, err_text
    assert '2 images, 3 boxes, 2 classes' in out_text
    meta = {'classes': CLASSES}
    voc = DefectVOCDataset(
        data_root=str(voc_root), metainfo=meta, difficult='ignore'
    )
    coco = VerifiedCocoDataset(
        ann_file=str(out), data_prefix={'img': str(voc_root)}, metainfo=meta
    )
    assert len(coco) == len(voc) == 2
    for i in range(2):
        assert (
            coco.get_data_info(i)['instances']
            == voc.get_data_info(i)['instances']
        )


def test_yolo_to_coco(tmp_path):
    write_image(tmp_path / 'images/a.jpg')
    (tmp_path / 'labels').mkdir()
    (tmp_path / 'labels/a.txt').write_text('1 0.5 0.5 0.5 0.2\n')
    out = tmp_path / 'yolo.json'
    status, _, err_text = run(
        'dataset_to_coco.py', 'yolo', tmp_path, '--classes', *CLASSES,
        '--out', out,
    )  # fmt: skip
    assert status == 0, err_text
    content = json.loads(out.read_text())
    assert content['images'] == [
        {'id': 1, 'file_name': 'images/a.jpg', 'width': 40, 'height': 30}
    ]
    (ann,) = content['annotations']
    assert ann['bbox'] == pytest.approx([10, 12, 20, 6])
    assert ann['category_id'] == 2


def test_neu_det_to_coco__pycocotools_counts(neu_det_root, tmp_path):
    out = tmp_path / 'test.json'
    status, _, err_text = run(
        'dataset_to_coco.py', 'neu_det', neu_det_root,
        '--split', 'paper_test', '--out', out,
    )  # fmt: skip
    assert status == 0, err_text
    coco = COCO(str(out))
    assert len(coco.getImgIds()) == 170
    assert len(coco.getAnnIds()) == 418
    names = [cat['name'] for cat in coco.loadCats(coco.getCatIds())]
    assert names == [
        'crazing', 'inclusion', 'patches', 'pitted_surface',
        'rolled-in_scale', 'scratches',
    ]  # fmt: skip


def test_check_dataset__status_and_report(voc_root, tmp_path):
    out = tmp_path / 'report.json'
    args = ('check_dataset.py', 'voc', voc_root, '--out', out, '--classes')
    status, text, _ = run(*args, *CLASSES)
    assert status == 0
    assert text.endswith('no error\n')
    status, text, _ = run(*args, 'scratch')
    assert status == 1
    assert text.endswith('2 errors\n')
    assert json.loads(out.read_text())['counts']['unknown_class'] == 2


def test_missing_root__one_line(tmp_path):
    status, _, err_text = run(
        'dataset_to_coco.py', 'neu_det', tmp_path / 'no', '--out', 'x.json'
    )
    assert status == 1
    assert err_text.splitlines()[-1].startswith('error: data root ')
    assert 'Traceback' not in err_text


def test_option_without_meaning__one_line(voc_root):
    code, _, stderr = run('check_dataset.py', 'voc', voc_root, '--split', 'x')
    assert code == 1
    assert '--split has no meaning for voc' in stderr
    assert len(stderr.strip().splitlines()) == 1
    code, _, stderr = run('check_dataset.py', 'coco', voc_root)
    assert code == 1
    assert 'coco needs --ann-file FILE.json' in stderr
    assert len(stderr.strip().splitlines()) == 1


def test_out_of_any_suffix__is_json(voc_root, tmp_path):
    args = ('voc', voc_root, '--classes', *CLASSES)
    _, _, err_text = run(
        'check_dataset.py', *args, '--out', tmp_path / 'report.txt'
    )
    assert err_text == ''
    assert 'num_errors' in json.loads((tmp_path / 'report.txt').read_text())
    status, _, err_text = run(
        'dataset_to_coco.py', *args, '--difficult', 'ignore',
        '--out', tmp_path / 'mine',
    )  # fmt: skip
    assert status == 0, err_text
    assert len(json.loads((tmp_path / 'mine').read_text())['images']) == 2


def test_detections_that_are_not_there__are_one_line(tmp_path):
    status, _, err_text = run(
        'detections_to_coco.py', tmp_path / 'none', '--labeled', 'x.py',
        '--out', tmp_path / 'x.json',
    )  # fmt: skip
    assert status == 1
    assert 'none.gt.json does not exist' in err_text.splitlines()[-1]
