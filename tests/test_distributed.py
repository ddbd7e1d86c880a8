"""Two gloo processes under torchrun train one model."""

import json
import os
import sys
from pathlib import Path

import torch
from tiny_run import run, write_config

REPO = Path(__file__).resolve().parents[1]
# Every rank saves what it starts from and what it ends with.
HOOK = """
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmengine.registry import HOOKS


@HOOKS.register_module()
class save_parameters(Hook):
    def save(self, runner, when):
        model = getattr(runner.model, 'module', runner.model)
        path = f'{runner.work_dir}/rank{get_rank()}_{when}.pt'
        torch.save(dict(model.named_parameters()), path)

    def before_train(self, runner):
        self.save(runner, 'before')

    def after_train(self, runner):
        self.save(runner, 'after')
"""


def test_torchrun__two_ranks_end_with_the_same_parameters(tmp_path):
    (tmp_path / 'save_parameters.py').write_text(HOOK)
    config = write_config(tmp_path, REPO / 'configs', 'save_parameters')
    work_dir = tmp_path / 'work_dir'
    done = run(
        sys.executable, '-m', 'torch.distributed.run', '--standalone',
        '--nproc_per_node=2', REPO / 'tools' / 'train.py', config,
        '--launcher', 'pytorch', '--work-dir', work_dir,
        cwd=tmp_path,
        pythonpath=f'{tmp_path}{os.pathsep}{REPO / "projects"}',
    )  # fmt: skip
    assert not done.returncode, done.stderr[-3000:]

    before, after, other = (
        torch.load(work_dir / f'rank{name}.pt')
        for name in ('0_before', '0_after', '1_after')
    )
    assert after.keys() == before.keys() == other.keys()
    for name, value in after.items():
        torch.testing.assert_close(value, other[name], rtol=0, atol=0)
    changed = sum(not torch.equal(after[k], before[k]) for k in after)
    assert changed > 0.9 * len(after)

    scalars = next(work_dir.glob('*/vis_data/scalars.json')).read_text()
    logs = [json.loads(line) for line in scalars.splitlines()]
    # 8 images, 2 ranks of batch 2: two iterations an epoch, logged once.
    assert [log['iter'] for log in logs if 'loss' in log] == [1, 2]
    assert any('defect/mAP_50' in log for log in logs)
