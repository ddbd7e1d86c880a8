"""MeanTeacherLoop: phases, places in the loaders, resuming, schedules."""

import math
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from tiny_semi import semi_config, train

from dsym.datasets import CLASSES
from dsym.errors import InputError

NUM_LABELED, NUM_UNLABELED = 6, 8


class Follow(Hook):
    """Computes eq 3 beside the loop, in double precision."""

    def __init__(self, alpha, burn_in, burn_in_alpha=0):
        self.alpha, self.burn_in = alpha, burn_in
        self.burn_in_alpha = burn_in_alpha
        self.expected, self.close = {}, Counter()
        self.first = {}

    def before_train_iter(self, runner, *args, **kwargs):
        if not self.first:
            state = runner.model.student.state_dict()
            self.first = {k: v.double().clone() for k, v in state.items()}

    def after_train_iter(self, runner, *args, **kwargs):
        model = runner.model
        teacher = model.teacher.state_dict()
        for key, value in model.student.state_dict().items():
            if not value.is_floating_point():
                continue
            student = value.double().clone()
            alpha = self.alpha
            if runner.epoch < self.burn_in:
                alpha = self.burn_in_alpha
            # at first the teacher is the student before this step
            old = self.expected.get(key, self.first[key])
            new = alpha * old + (1 - alpha) * student
            self.expected[key] = new
            if alpha:
                self.close[key] += torch.allclose(
                    teacher[key].double(), new, rtol=1e-4, atol=1e-5
                )


@pytest.fixture(scope='module')
def unbroken(tmp_path_factory):
    """A run of 3 + 4 + 4 steps that saves every epoch and every 5 steps."""
    folder = tmp_path_factory.mktemp('unbroken')
    config = semi_config(folder, ema=dict(type='ConstantEMA', alpha=0.9))
    config.custom_hooks = [
        dict(
            type='CheckpointHook',
            by_epoch=False,
            interval=5,
            save_last=False,
            filename_tmpl='step_{}.pth',
        )
    ]
    follow = Follow(alpha=0.9, burn_in=1)
    return (config, *train(config, hooks=[follow]), follow)


def images(steps, branch):
    return [name for step in steps for name in step['images'].get(branch, [])]


def test_phases__labelled_then_both(unbroken):
    _, runner, steps, _ = unbroken
    assert [s['epoch'] for s in steps] == [0] * 3 + [1] * 4 + [2] * 4
    assert [s['size'] for s in steps] == [3] * 3 + [4] * 8
    assert runner.max_iters == runner.iter == 11
    for step in steps[:3]:
        assert set(step['images']) == {'sup'}
        assert not any(k.startswith('unsup') for k in step['outputs'])
    for step in steps[3:]:
        assert set(step['images']) == {'sup', 'unsup_teacher', 'unsup_student'}
        assert (
            step['images']['unsup_teacher']
            == (step['images']['unsup_student'])
        )
        assert 'unsup_loss_cls' in step['outputs']
        assert 'unsup_loss_consistency_cls' in step['outputs']


def test_epoch__one_pass_over_the_unlabelled_images(unbroken):
    _, _, steps, _ = unbroken
    for epoch in (1, 2):
        part = [s for s in steps if s['epoch'] == epoch]
        assert len(set(images(part, 'unsup_teacher'))) == NUM_UNLABELED
    first, second = (
        images([s for s in steps if s['epoch'] == e], 'unsup_teacher')
        for e in (1, 2)
    )
    assert first != second  # shuffled anew


def test_labelled_loader__goes_on_over_the_epochs(unbroken):
    _, _, steps, _ = unbroken
    names = images(steps, 'sup')  # 22: three passes of six and four more
    for start in range(0, 18, NUM_LABELED):
        assert len(set(names[start : start + NUM_LABELED])) == NUM_LABELED
    assert set(Counter(names).values()) == {3, 4}


@pytest.mark.parametrize(
    'name, done', [('epoch_1', 3), ('epoch_2', 7), ('step_5', 5)]
)
def test_resume__next_losses_are_those_of_the_unbroken_run(
    unbroken, tmp_path, name, done
):
    config, runner, steps, _ = unbroken
    checkpoint = Path(runner.work_dir) / f'{name}.pth'
    again, more = train(
        config,
        load_from=str(checkpoint),
        resume=True,
        work_dir=str(tmp_path),
        experiment_name=f'resumed_{name}',
    )
    assert len(more) == 11 - done
    assert [s['images'] for s in more] == [s['images'] for s in steps[done:]]
    assert [s['lr'] for s in more] == [s['lr'] for s in steps[done:]]
    for old, new in zip(steps[done:], more):
        assert new['outputs'] == pytest.approx(old['outputs'], rel=1e-4)
    state = again.model.state_dict()
    for key, value in runner.model.state_dict().items():
        torch.testing.assert_close(state[key], value, rtol=1e-4, atol=1e-5)


def test_teacher__follows_every_step_from_the_end_of_phase_1(unbroken):
    *_, follow = unbroken
    assert follow.expected
    for key in follow.expected:
        assert follow.close[key] == 4 + 4, key
    # batch statistics have moved, and the teacher's with them (trap 2)
    key = next(k for k in follow.expected if k.endswith('running_mean'))
    assert follow.expected[key].abs().max() > 1e-3


def test_burn_in_ema__averages_phase_1_too(tmp_path):
    config = semi_config(
        tmp_path,
        burn_in=2,
        ema=dict(type='ConstantEMA', alpha=0.9),
        burn_in_ema=dict(type='ConstantEMA', alpha=0.7),
    )
    follow = Follow(alpha=0.9, burn_in=2, burn_in_alpha=0.7)
    train(config, hooks=[follow])
    for key in follow.expected:
        assert follow.close[key] == 3 + 3 + 4, key


def test_more_labelled_sources__have_their_own_batch_sizes(tmp_path):
    config = semi_config(tmp_path, burn_in=1, max_epochs=2)
    loader = config.labeled_loader
    pipeline = config.train_dataloader.dataset.pipeline
    config.train_cfg.labeled_dataloaders = [
        loader(5, 3, pipeline, batch_size=1),
        loader(4, 4, pipeline, batch_size=3),
    ]
    _, steps = train(config)
    assert [len(s['images']['sup']) for s in steps[:3]] == [6, 4, 6]
    assert len(steps) == 3 + 4


def test_schedules__last_until_the_end_of_phase_2(unbroken):
    _, _, steps, _ = unbroken
    # LinearLR's factor moves from 1 to 0.1 in max_iters - 1 steps; the hook
    # that records runs after the scheduler's
    expected = [0.001 * (1 - 0.9 * min(1, (i + 1) / 10)) for i in range(11)]
    assert [s['lr'] for s in steps] == pytest.approx(expected, rel=1e-5)


def test_eta__of_each_phase_by_its_own_steps(unbroken):
    _, _, steps, _ = unbroken
    first, second = ([s['time'] for s in x] for x in (steps[:3], steps[3:]))
    # two labelled and two unlabelled images: 1 + 4/3 of a step of phase 1
    expected = [
        np.mean(first[: i + 1]) * (2 - i + 8 * (1 + 4 / 3)) for i in range(3)
    ]
    expected += [np.mean(second[: i + 1]) * (7 - i) for i in range(8)]
    assert [s['eta'] for s in steps] == pytest.approx(expected, rel=1e-6)


def test_mosaic__closes_in_the_labelled_loaders(tmp_path):
    config = semi_config(tmp_path, burn_in=0, max_epochs=2)
    stage2 = config.train_dataloader.dataset.pipeline
    mark = dict(type='mmdet.RandomFlip', prob=0.0)
    config.custom_hooks = [
        dict(
            type='CloseMosaicHook',
            num_last_epochs=1,
            switch_pipeline=[*stage2[:-1], mark, stage2[-1]],
        )
    ]
    runner, steps = train(config)
    loop = runner.train_loop
    length = len(stage2)
    assert len(loop.labeled[0].dataset.pipeline.transforms) == length + 1
    names = [
        type(t).__name__ for t in loop.unlabeled.dataset.pipeline.transforms
    ]
    assert names[-1] == 'MultiBranch'
    # no image was left out or seen twice because of it
    assert set(Counter(images(steps, 'sup')).values()) == {2, 3}


@pytest.fixture(scope='module', params=['DefectVOCDataset', 'Streamed'])
def of_folder(request, tmp_path_factory):
    """A run on a folder without annotations, its config and its steps."""
    place = tmp_path_factory.mktemp('of_folder')
    config = semi_config(place, burn_in=0, max_epochs=1)
    folder = place / 'line3' / 'images'
    folder.mkdir(parents=True)
    for i in range(5):
        picture = np.full((20 + 10 * i, 40, 3), 60 * i, np.uint8)
        cv2.imwrite(str(folder / f'{i}.png'), picture)
    unlabeled = config.train_cfg.unlabeled_dataloader
    dataset = dict(
        type='DefectVOCDataset',
        data_root=str(place / 'line3'),
        data_prefix=dict(img='images'),
        unlabeled=True,
    )
    if request.param == 'Streamed':
        unlabeled.sampler = dict(type='PermutedSampler')
        dataset = dict(
            type='StreamedImageDataset',
            data_root=str(folder),
            cache_dir=str(place / 'lists'),
        )
    unlabeled.dataset = dict(
        dataset,
        metainfo=dict(classes=('a', 'b', 'c', 'd', 'e', 'f')),
        pipeline=unlabeled.dataset.pipeline,
    )
    config.model.semi_train_cfg.selector = dict(type='ClassThresholds')
    config.custom_hooks = [
        dict(
            type='CheckpointHook',
            by_epoch=False,
            interval=1,
            save_last=False,
            filename_tmpl='step_{}.pth',
        )
    ]
    return (config, *train(config))


def test_unlabelled__is_a_folder_without_any_annotation(of_folder):
    *_, steps = of_folder
    names = images(steps, 'unsup_student')
    assert sorted(names) == [f'{i}.png' for i in range(5)]
    assert [len(s['images']['unsup_student']) for s in steps] == [2, 2, 1]


def test_unlabelled_folder__goes_on_in_the_middle_of_a_pass(
    of_folder, tmp_path
):
    config, runner, steps = of_folder
    _, more = train(
        config,
        load_from=str(Path(runner.work_dir) / 'step_1.pth'),
        resume=True,
        work_dir=str(tmp_path),
        experiment_name=f'{config.experiment_name}_resumed',
    )
    assert [s['images'] for s in more] == [s['images'] for s in steps[1:]]


def test_checkpoint__names_the_labelled_images_classes(of_folder):
    """The unlabelled set calls them a to f."""
    _, runner, _ = of_folder
    found = torch.load(
        Path(runner.work_dir) / 'step_2.pth', weights_only=False
    )
    assert found['meta']['dataset_meta']['classes'] == CLASSES


def test_load_from__a_new_run_has_its_own_ramp(of_folder, tmp_path):
    """Two rounds by one config: of three steps the first has lambda e^-5."""
    config, runner, _ = of_folder
    config = config.copy()
    config.model.semi_train_cfg.ramp_steps = 1000
    _, steps = train(
        config,
        load_from=str(Path(runner.work_dir) / 'step_3.pth'),
        work_dir=str(tmp_path),
        experiment_name=f'{config.experiment_name}_second',
    )
    told = [step['outputs']['lambda_unsup'] for step in steps]
    assert told[0] == pytest.approx(np.exp(-5), rel=1e-5)
    assert told == sorted(told)


def test_class_thresholds__hear_of_the_labelled_boxes(of_folder):
    _, runner, _ = of_folder
    told = runner.model.selector.boxes_per_image
    dataset = runner.train_loop.labeled[0].dataset
    counts = Counter(
        int(instance['bbox_label'])
        for i in range(NUM_LABELED)
        for instance in dataset.get_data_info(i)['instances']
    )
    assert told == [counts[label] / NUM_LABELED for label in range(6)]


def test_stacked_images__are_refused(tmp_path):
    config = semi_config(tmp_path)
    loader = config.train_dataloader
    pack = dict(type='mmdet.PackDetInputs', meta_keys=('img_path',))
    loader.dataset.pipeline = [*loader.dataset.pipeline[:-2], pack]
    loader.collate_fn = dict(type='yolov5_collate')
    with pytest.raises(InputError, match='pseudo_collate'):
        train(config)


def test_burn_in__longer_than_all_is_refused(tmp_path):
    with pytest.raises(InputError, match='burn_in_epochs=4'):
        train(semi_config(tmp_path, burn_in=4, max_epochs=3))


@pytest.fixture(scope='module')
def one_epoch(tmp_path_factory):
    """An epoch of phase 2 in bfloat16, validated for the best checkpoint."""
    folder = tmp_path_factory.mktemp('one_epoch')
    config = semi_config(folder, burn_in=0, max_epochs=1)
    config.train_cfg.val_interval = 1
    config.default_hooks.checkpoint.save_best = 'teacher/defect/mAP_50'
    config.default_hooks.checkpoint.rule = 'greater'
    config.optim_wrapper.update(type='BF16OptimWrapper', enabled=True)
    return train(config)


def test_best_checkpoint__is_the_teachers(one_epoch):
    runner, _ = one_epoch
    assert list(Path(runner.work_dir).glob('best_teacher*.pth'))
    scalars = runner.message_hub.log_scalars
    assert {'val/teacher/defect/mAP_50', 'val/student/defect/mAP_50'} <= set(
        scalars
    )


def test_bf16__trains(one_epoch):
    runner, steps = one_epoch
    assert all(math.isfinite(s['outputs']['loss']) for s in steps)
    stages = runner.model.pseudo_records[0].stages
    assert stages['selected'].bboxes.dtype == torch.float32


def test_phase_2_from_nothing__is_warned_of(one_epoch, unbroken):
    """Not where phase 1 comes first."""
    for runner, warned in ((one_epoch[0], True), (unbroken[1], False)):
        (log,) = Path(runner.work_dir).glob('*/*.log')
        assert ('no checkpoint was loaded' in log.read_text()) == (warned)
