"""The stock SwitchToDeployHook in a real test run."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MMLogger
from mmengine.runner import Runner
from mmyolo.models.layers import RepVGGBlock
from tiny_run import write_config

CONFIGS = Path(__file__).parents[2] / 'configs'


@pytest.fixture(autouse=True)
def forget_loggers():
    """A Runner leaves its logger, whose file is closed with the test."""
    yield
    MMLogger._instance_dict.clear()


def sorted_columns(file):
    """Score, x, y, w, h of all detections, each column by itself rising."""
    rows = [
        [det['score'], *det['bbox']] for det in json.loads(file.read_text())
    ]
    return np.sort(rows, axis=0)


def test_stock_hook_reparameterises_and_boxes_stay(tmp_path):
    config = Config.fromfile(write_config(tmp_path, CONFIGS))
    config.work_dir = str(tmp_path / 'work')
    # Untrained scores are tiny: every box counts, none suppresses another.
    config.model.test_cfg.update(
        score_thr=0.0, max_per_img=1000, nms=dict(type='nms', iou_threshold=1)
    )
    saved = tmp_path / 'test'
    config.test_evaluator.update(
        outfile_prefix=str(saved), save_predictions=True
    )
    boxes, weights = [], None
    for hooks in ([], [dict(type='mmyolo.SwitchToDeployHook')]):
        config.custom_hooks = hooks
        config.experiment_name = f'test_deploy_{len(hooks)}'
        runner = Runner.from_cfg(config)
        if weights is None:
            runner.model.init_weights()
            weights = {
                name: value.clone()
                for name, value in runner.model.state_dict().items()
            }
        runner.model.load_state_dict(weights)
        for module in runner.model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_var.fill_(0.5)
                module.running_mean.fill_(0.1)
        runner.test()
        boxes.append(sorted_columns(Path(f'{saved}.bbox.json')))
        blocks = [
            m for m in runner.model.modules() if isinstance(m, RepVGGBlock)
        ]
        assert len(blocks) > 0
        for block in blocks:
            assert hasattr(block, 'rbr_reparam') == bool(hooks)
    # 8 images, 8 x 8 + 4 x 4 + 2 x 2 places, 6 classes
    assert boxes[0].shape == boxes[1].shape == (8 * 84 * 6, 5)
    np.testing.assert_allclose(*boxes, rtol=1e-3, atol=1e-3)
