"""MeanTeacherLoop as it is shipped: resumed, and from a checkpoint."""

import copy
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import MODELS
from tiny_semi import CONFIGS, semi_config, train

from dsym.datasets import SteelSynthDataset
from dsym.errors import InputError


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


@pytest.mark.parametrize('part', ['labelled', 'unlabelled'])
def test_resume__with_another_epoch_length_is_refused(shipped, tmp_path, part):
    """Its place in the epoch could not be told: 3 and 4 steps before."""
    config, runner, *_ = shipped
    config = copy.deepcopy(config)
    loader, message = config.train_dataloader, 'now have 2 and 4'
    if part == 'unlabelled':
        loader = config.train_cfg.unlabeled_dataloader
        message = 'now have 3 and 2'
    loader.batch_size = 3 if part == 'labelled' else 4
    with pytest.raises(InputError, match=f'had 3 and 4 steps and {message}'):
        train(
            config,
            load_from=str(Path(runner.work_dir) / 'step_4.pth'),
            resume=True,
            work_dir=str(tmp_path),
            experiment_name=f'other_{part}',
        )


def test_resume_of_nothing__is_warned_of_an_untrained_teacher(tmp_path):
    config = semi_config(tmp_path, burn_in=0, max_epochs=1)
    runner, _ = train(config, resume=True)
    (log,) = Path(runner.work_dir).glob('*/*.log')
    assert 'no checkpoint was loaded' in log.read_text()


@pytest.mark.parametrize('burn_in', [0, 1])
def test_checkpoint_of_other_classes(tmp_path, burn_in):
    """A teacher's labels would be wrong; a phase 1 learns them anew."""
    config = semi_config(tmp_path, burn_in=burn_in, max_epochs=1)
    state = MODELS.build(config.model.detector).state_dict()
    names = SteelSynthDataset.METAINFO['classes'][::-1]
    meta = dict(dataset_meta=dict(classes=names))
    path = tmp_path / 'from.pth'
    torch.save(dict(state_dict=state, meta=meta), path)
    if burn_in:
        train(config, load_from=str(path))
    else:
        with pytest.raises(InputError, match=f'classes {names[0]}, '):
            train(config, load_from=str(path))


@pytest.mark.parametrize(
    'selector',
    [
        dict(type='ClassThresholds', window=16),
        dict(type='MixtureThreshold', num_classes=6),
    ],
)
def test_own_checkpoint__with_another_selector(shipped, tmp_path, selector):
    """Its thresholds begin anew anyway."""
    config, runner, *_ = shipped
    config = copy.deepcopy(config)
    config.model.semi_train_cfg.selector = selector
    config.custom_hooks = [dict(type='PreflightHook')]
    config.train_cfg.update(burn_in_epochs=0, max_epochs=1)
    begin = Begin()
    train(
        config,
        hooks=[begin],
        load_from=str(Path(runner.work_dir) / 'step_4.pth'),
        work_dir=str(tmp_path),
        experiment_name=f'selector_{selector["type"]}',
    )
    kept = torch.load(Path(runner.work_dir) / 'step_4.pth')['state_dict']
    for name in ('student', 'teacher'):
        for key, value in begin.part(name).items():
            assert torch.equal(value, kept[f'{name}.{key}']), key
    assert (begin.part('selector')['scores'] == -1).all()
