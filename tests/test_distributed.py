"""Two gloo processes under torchrun train one model, or a mean teacher."""

import json
import os
import sys
from pathlib import Path

import torch
from tiny_run import run, write_config
from tiny_semi import semi_config

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
        torch.save(model.state_dict(), path)
        # as MMEngine wraps a model on a GPU
        assert not runner.model.broadcast_buffers
        wanted = runner.cfg.get('find_unused_parameters', False)
        assert runner.model.find_unused_parameters == wanted
        for name in ('student', 'teacher'):
            if when == 'after' and hasattr(model, name):
                # no part of the state
                bins = getattr(model, name).bbox_head.head_module.proj
                torch.save(bins, f'{path[:-3]}_{name}_proj.pt')

    def before_train(self, runner):
        self.save(runner, 'before')

    def after_train(self, runner):
        self.save(runner, 'after')
"""


def train(config, folder):
    """Train on two ranks; give what rank 0 and 1 saved, and the work_dir."""
    work_dir = folder / 'work_dir'
    done = run(
        sys.executable, '-m', 'torch.distributed.run', '--standalone',
        '--nproc_per_node=2', REPO / 'tools' / 'train.py', config,
        '--launcher', 'pytorch', '--work-dir', work_dir,
        cwd=folder,
        pythonpath=f'{folder}{os.pathsep}{REPO / "projects"}',
    )  # fmt: skip
    errors = [x for x in done.stderr.splitlines() if 'Error' in x]
    assert not done.returncode, errors
    names = '0_before', '0_after', '1_after'
    saved = (torch.load(work_dir / f'rank{name}.pt') for name in names)
    return (*saved, work_dir)


def test_torchrun__two_ranks_end_with_the_same_parameters(tmp_path):
    (tmp_path / 'save_parameters.py').write_text(HOOK)
    config = write_config(tmp_path, REPO / 'configs', 'save_parameters')
    before, after, other, work_dir = train(config, tmp_path)
    assert after.keys() == before.keys() == other.keys()
    for name, value in after.items():
        # batch statistics are each rank's own
        if 'running' not in name:
            torch.testing.assert_close(value, other[name], rtol=0, atol=0)
    changed = sum(not torch.equal(after[k], before[k]) for k in after)
    assert changed > 0.9 * len(after)

    scalars = next(work_dir.glob('*/vis_data/scalars.json')).read_text()
    logs = [json.loads(line) for line in scalars.splitlines()]
    # 8 images, 2 ranks of batch 2: two iterations an epoch, logged once.
    assert [log['iter'] for log in logs if 'loss' in log] == [1, 2]
    assert any('defect/mAP_50' in log for log in logs)


def test_torchrun__two_ranks_have_one_student_and_one_teacher(tmp_path):
    (tmp_path / 'save_parameters.py').write_text(HOOK)
    config = semi_config(tmp_path, burn_in=1, max_epochs=2)
    config.pop('labeled_loader')
    config.custom_imports = dict(
        imports=['dsym', 'save_parameters'], allow_failed_imports=False
    )
    config.model.detector.use_syncbn = False  # SyncBN has no CPU code
    config.custom_hooks = [dict(type='save_parameters')]
    config.train_cfg.ema = dict(type='AdaptiveEMA', alpha=0.9)
    config.find_unused_parameters = True
    # a rank whose images have no pseudo-label must not leave the other alone
    config.model.semi_train_cfg.selector.score_thr = 0.02
    config.visualizer.vis_backends = [dict(type='LocalVisBackend')]
    config.dump(tmp_path / 'semi.py')
    before, after, other, work_dir = train(tmp_path / 'semi.py', tmp_path)

    for part in ('student.', 'teacher.'):
        names = [name for name in after if name.startswith(part)]
        for name in names:  # batch statistics too, averaged at the end
            torch.testing.assert_close(
                after[name], other[name], rtol=1e-6, atol=1e-6
            )
        changed = sum(not torch.equal(after[k], before[k]) for k in names)
        assert changed > 0.9 * len(names)
    scalars = next(work_dir.glob('*/vis_data/scalars.json')).read_text()
    logs = [json.loads(line) for line in scalars.splitlines()]
    # the buffers' mean over the ranks, not their sum: bins 0 to 15 stay
    for name in ('student', 'teacher'):
        bins = torch.load(work_dir / f'rank0_after_{name}_proj.pt')
        assert bins.flatten().tolist() == [*range(16)]
    # 6 labelled images on 2 ranks in batches of 2: two steps, of which the
    # second repeats one image; 8 unlabelled ones: two steps
    assert [log['iter'] for log in logs if 'loss' in log] == [1, 2, 3, 4]
