import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmdet.structures import DetDataSample
from mmengine.structures import InstanceData
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / 'tools' / 'analysis_tools' / 'plot_run.py'


def run(*args):
    return subprocess.run(
        [sys.executable, str(TOOL), *map(str, args)],
        capture_output=True,
        text=True,
    )


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
    done = run(work_dir)
    assert done.returncode == 0, done.stderr
    paths = [Path(line) for line in done.stdout.split()]
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


def test_plot_run__nothing_to_plot_is_one_line(tmp_path):
    done = run(tmp_path)
    assert done.returncode == 1
    assert 'scalars.json' in done.stderr.splitlines()[-1]
    assert 'Traceback' not in done.stderr
