import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from dataset_files import write_image
from pycocotools.coco import COCO

from dsym.datasets import DefectVOCDataset, VerifiedCocoDataset

REPO = Path(__file__).parents[2]
CLASSES = ('scratch', 'dent')


def run(tool, *args):
    """Run a tool as a user does, from a folder that is not the checkout."""
    paths = [str(REPO / 'projects'), os.environ.get('PYTHONPATH', '')]
    return subprocess.run(
        [
            sys.executable,
            str(REPO / 'tools/dataset_converters' / tool),
            *map(str, args),
        ],
        capture_output=True,
        text=True,
        env={**os.environ, 'PYTHONPATH': os.pathsep.join(paths)},
        cwd='/',
    )


def test_voc_to_coco__same_boxes_when_read_back(voc_root, tmp_path):
    out = tmp_path / 'voc.json'
    result = run(
        'dataset_to_coco.py', 'voc', voc_root, '--classes', *CLASSES,
        '--difficult', 'ignore', '--out', out,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert '2 images, 3 boxes, 2 classes' in result.stdout
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
    result = run(
        'dataset_to_coco.py', 'yolo', tmp_path, '--classes', *CLASSES,
        '--out', out,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    content = json.loads(out.read_text())
    assert content['images'] == [
        {'id': 1, 'file_name': 'images/a.jpg', 'width': 40, 'height': 30}
    ]
    (ann,) = content['annotations']
    assert ann['bbox'] == pytest.approx([10, 12, 20, 6])
    assert ann['category_id'] == 2


def test_neu_det_to_coco__pycocotools_counts(neu_det_root, tmp_path):
    out = tmp_path / 'test.json'
    result = run(
        'dataset_to_coco.py', 'neu_det', neu_det_root,
        '--split', 'paper_test', '--out', out,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
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
    good = run(*args, *CLASSES)
    assert good.returncode == 0, good.stderr
    assert good.stdout.endswith('no error\n')
    bad = run(*args, 'scratch')
    assert bad.returncode == 1
    assert bad.stdout.endswith('2 errors\n')
    assert json.loads(out.read_text())['counts']['unknown_class'] == 2


def test_missing_root__one_line(tmp_path):
    result = run(
        'dataset_to_coco.py', 'neu_det', tmp_path / 'no', '--out', 'x.json'
    )
    assert result.returncode == 1
    assert result.stderr.splitlines()[-1].startswith('error: data root ')
    assert 'Traceback' not in result.stderr
