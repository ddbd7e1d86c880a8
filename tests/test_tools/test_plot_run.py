import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from PIL import Image
from tiny_run import call_script

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / 'tools' / 'analysis_tools' / 'plot_run.py'


def run(*args):
    """Run the tool; give its message and what it printed."""
    done = call_script(TOOL, *args)
    assert done.returncode == bool(done.stderr)
    return done.stderr.strip(), done.stdout


@pytest.fixture
def work_dir(tmp_path):
    """A run: a log, an evaluation and one image."""
    import dsym

    folder = tmp_path / 'run'
    vis_data = folder / '20260101_000000' / 'vis_data'
    vis_data.mkdir(parents=True)
    lines = [
        dict(loss=1.0, lr=0.1, epoch=1, step=10),
        {'defect/mAP_50': 0.5, 'step': 1},
    ]
    (vis_data / 'scalars.json').write_text('\n'.join(map(json.dumps, lines)))

    Image.fromarray(np.zeros((50, 50, 3), np.uint8)).save(tmp_path / '0.png')
    bboxes, labels = torch.tensor([[5.0, 5, 30, 30]]), torch.tensor([0])
    sample = DetDataSample(
        metainfo=dict(
            img_id=0, img_path=str(tmp_path / '0.png'), ori_shape=(50, 50)
        )
    )
    sample.gt_instances = InstanceData(bboxes=bboxes, labels=labels)
    sample.pred_instances = InstanceData(
        bboxes=bboxes, labels=labels, scores=torch.tensor([0.8])
    )
    metric = dsym.evaluation.DefectMetric(
        outfile_prefix=str(folder / 'test'), save_predictions=True
    )
    metric.dataset_meta = dict(classes=('a',))
    metric.process({}, [sample.to_dict()])
    metric.evaluate(1)
    return folder


def test_plot_run__prints_what_it_made(work_dir):
    message, printed = run(work_dir)
    assert message == ''
    paths = [Path(line) for line in printed.split()]
    assert [path.name for path in paths] == [
        'training.png',
        'test_pr.png',
        'test_confidence.png',
        'test_gallery.png',
    ]
    for path in paths:
        assert path.parent == work_dir / 'figures'
        with Image.open(path) as image:
            assert image.width == 1000


def test_plot_run__out_dir_and_two_runs(work_dir, tmp_path):
    other = tmp_path / 'other'
    shutil.copytree(work_dir, other)
    out_dir = tmp_path / 'out'
    run(work_dir, other, '--out-dir', out_dir, '--num-images', 1)
    for name in ('run', 'other'):
        assert (out_dir / name / 'test_gallery.png').is_file()


def test_plot_run__several_tests_keep_their_figures(work_dir):
    """Those of a study lie in a folder each, under one name."""
    for name in ('test_dev', 'test_test'):
        (work_dir / name).mkdir()
        for file in work_dir.glob('test.*.json'):
            shutil.copy(file, work_dir / name)
    assert run(work_dir)[0] == ''
    kinds = ('pr', 'confidence', 'gallery')
    assert {x.name for x in (work_dir / 'figures').iterdir()} == {
        'training.png',
        *(f'test_{kind}.png' for kind in kinds),
        *(f'test_dev_test_{kind}.png' for kind in kinds),
        *(f'test_test_test_{kind}.png' for kind in kinds),
    }


def test_plot_run__pseudo_labels(work_dir):
    figures = dict(precision=0.5, recall=0.25, boxes_per_image=1.5)
    stages = dict(selected=dict(figures, classes=dict(a=figures)))
    (work_dir / 'pseudo_labels.json').write_text(
        json.dumps([dict(epoch=1, stages=stages)])
    )
    _, printed = run(work_dir)
    path = work_dir / 'figures' / 'pseudo_labels.png'
    assert str(path) in printed.split()
    with Image.open(path) as image:
        assert image.width == 1000


def test_plot_run__nothing_to_plot_is_one_line(tmp_path):
    message, printed = run(tmp_path)
    assert printed == ''
    assert str(tmp_path) in message
    assert 'scalars.json' in message
    assert len(message.splitlines()) == 1


def test_plot_run__predictions_without_truth(work_dir):
    (work_dir / 'test.gt.json').unlink()
    message, _ = run(work_dir)
    assert 'test.gt.json is missing' in message
