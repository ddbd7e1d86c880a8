"""The stock SwitchToDeployHook in a real test run."""

from pathlib import Path

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


def test_stock_hook_reparameterises_and_scores_stay(tmp_path):
    config = Config.fromfile(write_config(tmp_path, CONFIGS))
    config.work_dir = str(tmp_path / 'work')
    scores, weights = [], None
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
        scores.append(runner.test())
        blocks = [
            m for m in runner.model.modules() if isinstance(m, RepVGGBlock)
        ]
        assert len(blocks) > 0
        for block in blocks:
            assert hasattr(block, 'rbr_reparam') == bool(hooks)
    assert scores[0].keys() == scores[1].keys()
    assert torch.isclose(
        torch.tensor(scores[0]['defect/mAP_50']),
        torch.tensor(scores[1]['defect/mAP_50']),
        atol=1e-3,
    )
