"""MeanTeacherLoop as it is shipped: resumed, and from a checkpoint."""

from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import MODELS
from tiny_semi import CONFIGS, semi_config, train


class Moves(Hook):
    """Whether the teacher moved in each step."""

    def __init__(self):
        self.moved = []

    def parameters(self, runner):
        parameters = runner.model.teacher.parameters()
        return torch.cat([x.flatten() for x in parameters])

    def before_train_iter(self, runner, *args, **kwargs):
        self.before = self.parameters(runner)

    def after_train_iter(self, runner, *args, **kwargs):
        same = torch.equal(self.before, self.parameters(runner))
        self.moved.append(not same)


@pytest.fixture(scope='module')
def shipped(tmp_path_factory):
    """3 + 4 steps with all that has a state, saved every 2 steps.

    Mosaics of a worker that stays, thresholds that fit themselves, an average
    that adapts, and two batches an optimizer step.
    """
    folder = tmp_path_factory.mktemp('shipped')
    ema = dict(type='AdaptiveEMA', alpha=0.9)
    config = semi_config(folder, burn_in=1, max_epochs=2, ema=ema)
    base = Config.fromfile(CONFIGS / '_base_/datasets/semi_224.py')
    config.train_dataloader.dataset.pipeline = base.labeled_pipeline
    for loader in (
        config.train_dataloader,
        config.train_cfg.unlabeled_dataloader,
    ):
        loader.update(num_workers=1, persistent_workers=True)
    config.model.semi_train_cfg.selector = dict(
        type='ClassThresholds', window=8, start=0.0, lowest=0.0
    )
    config.optim_wrapper.accumulative_counts = 2
    config.custom_hooks = [
        dict(
            type='CheckpointHook',
            by_epoch=False,
            interval=2,
            save_last=False,
            filename_tmpl='step_{}.pth',
        )
    ]
    moves = Moves()
    return (config, *train(config, hooks=[moves]), moves.moved)


def test_teacher__moves_with_the_optimizer(shipped):
    """In phase 2, by every second batch and the last of all."""
    *_, moved = shipped
    assert moved == [False, False, False, True, False, True, True]


def test_resume__of_what_is_shipped(shipped, tmp_path):
    config, runner, steps, _ = shipped
    again, more = train(
        config,
        load_from=str(Path(runner.work_dir) / 'step_4.pth'),
        resume=True,
        work_dir=str(tmp_path),
        experiment_name='resumed_shipped',
    )
    assert [s['images'] for s in more] == [s['images'] for s in steps[4:]]
    for old, new in zip(steps[4:], more):
        assert new['outputs'] == pytest.approx(old['outputs'], rel=1e-4)
    state = again.model.state_dict()
    for key, value in runner.model.state_dict().items():
        torch.testing.assert_close(state[key], value, rtol=1e-4, atol=1e-5)
    found, expected = (
        x.message_hub.get_info('mean_teacher_ema') for x in (again, runner)
    )
    assert found == pytest.approx(expected, rel=1e-4)


class Begin(Hook):
    """The model before the first step, whose images a filter refuses."""

    def before_train_iter(self, runner, *args, **kwargs):
        refuses = runner.iter == 0
        runner.model.attach_filter(refuse if refuses else None)
        if refuses:
            state = runner.model.state_dict()
            self.state = {key: x.clone() for key, x in state.items()}

    def part(self, name):
        prefix = f'{name}.'
        return {
            key.removeprefix(prefix): x
            for key, x in self.state.items()
            if key.startswith(prefix)
        }


def refuse(samples, labels):
    for boxes in labels:
        boxes.set_metainfo(dict(refused=True))
    return labels


def train_from(folder, state):
    """Two steps of phase 2 from a checkpoint's state."""
    config = semi_config(
        folder,
        burn_in=0,
        max_epochs=1,
        ema=dict(type='AdaptiveEMA', alpha=0.9),
    )
    config.train_cfg.unlabeled_dataloader.batch_size = 4
    path = folder / 'from.pth'
    torch.save(dict(state_dict=state(config.model)), path)
    begin = Begin()
    return (begin, *train(config, hooks=[begin], load_from=str(path)))


def test_plain_checkpoint__teacher_begins_as_the_student(tmp_path):
    """Also where the checkpoint lacks what is drawn for each of them."""

    def without_a_convolution(model):
        state = MODELS.build(model.detector).state_dict()
        drawn = [k for k, x in state.items() if 'cls_preds' in k]
        return {key: x for key, x in state.items() if key != drawn[0]}

    begin, *_ = train_from(tmp_path, without_a_convolution)
    student, teacher = begin.part('student'), begin.part('teacher')
    assert student.keys() == teacher.keys()
    for key, value in student.items():
        assert torch.equal(value, teacher[key]), key


def test_own_checkpoint__keeps_its_teacher(tmp_path):
    """And a step whose images are all refused ends no run."""

    def with_another_teacher(model):
        state = MODELS.build(model).state_dict()
        return {
            key: 1.01 * x
            if key.startswith('teacher.') and x.is_floating_point()
            else x
            for key, x in state.items()
        }

    begin, runner, steps = train_from(tmp_path, with_another_teacher)
    student, teacher = begin.part('student'), begin.part('teacher')
    for key, value in torch.load(tmp_path / 'from.pth')['state_dict'].items():
        if key.startswith('teacher.'):
            found = teacher[key.removeprefix('teacher.')]
            assert torch.equal(found, value), key
    assert any(not torch.equal(student[key], teacher[key]) for key in student)
    assert ['disagreement' in s['outputs'] for s in steps] == [False, True]
    # the first comparison is the usual one
    alphas = runner.message_hub.get_scalar('train/ema_alpha').data[0]
    assert alphas.tolist() == pytest.approx([0.9, 0.9])
