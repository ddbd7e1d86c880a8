"""What MeanTeacherLoop refuses, and that it does so before the first step."""

import random

import numpy as np
import pytest
import torch
from mmdet.datasets import AspectRatioBatchSampler
from mmdet.models.detectors import SemiBaseDetector
from mmengine.dataset import pseudo_collate
from mmengine.registry import DATA_SAMPLERS
from tiny_semi import Record, semi_config, train
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, Dataset

from dsym.datasets import SteelSynthDataset
from dsym.engine.mean_teacher_checks import (
    check_first_image,
    check_model,
    check_views,
)
from dsym.engine.mean_teacher_loop import one_pass
from dsym.errors import InputError


def refused(config, match):
    """Assert that a run ends with an error before a step of phase 1."""
    record = Record()
    with pytest.raises(InputError, match=match):
        train(config, hooks=[record])
    assert record.steps == []


def test_ema_hook(tmp_path):
    config = semi_config(tmp_path)
    config.custom_hooks = [dict(type='EMAHook')]
    refused(config, 'average of the average')


@pytest.mark.parametrize(
    'hook',
    [
        dict(type='mmdet.PipelineSwitchHook', switch_epoch=1),
        dict(type='mmyolo.YOLOXModeSwitchHook', num_last_epochs=1),
        dict(type='mmdet.YOLOXModeSwitchHook', num_last_epochs=1),
    ],
)
def test_hook_that_would_switch_the_unlabelled_pipeline(tmp_path, hook):
    config = semi_config(tmp_path)
    if 'switch_epoch' in hook:
        pipeline = config.train_dataloader.dataset.pipeline
        hook = dict(hook, switch_pipeline=pipeline)
    config.custom_hooks = [hook]
    refused(config, 'SwitchHook of custom_hooks .* CloseMosaicHook')


@pytest.mark.parametrize('hook', ['YOLOv5', 'PPYOLOE'])
def test_schedule_of_a_hook(tmp_path, hook):
    """Steps of all epochs by one length, or, of YOLOv5's, no end of it."""
    config = semi_config(tmp_path)
    kind = f'{hook}ParamSchedulerHook'
    config.default_hooks.param_scheduler = dict(type=f'mmyolo.{kind}')
    refused(config, f'{kind} .*by_epoch=False')


def test_schedule_by_epochs__where_epochs_differ(tmp_path):
    config = semi_config(tmp_path)
    config.param_scheduler = dict(
        type='LinearLR', by_epoch=True, end=3, convert_to_iter_based=True
    )
    refused(config, 'by_epoch=False')


def test_plain_model(tmp_path):
    config = semi_config(tmp_path)
    config.model = config.model.detector
    refused(config, 'DSYMDetector')


def test_adaptive_average__of_no_disagreement(tmp_path):
    config = semi_config(tmp_path, ema=dict(type='AdaptiveEMA'))
    config.model.semi_train_cfg.consistency = None
    refused(config, r"consistency=dict\(type='ConsistencyLoss'\)")


def test_adaptive_average__of_phase_1(tmp_path):
    config = semi_config(tmp_path, burn_in_ema=dict(type='AdaptiveEMA'))
    refused(config, 'burn_in_ema.*WarmupEMA')


@pytest.mark.parametrize('branches', [True, False])
def test_unlabelled_images__with_a_labelled_pipeline(tmp_path, branches):
    """They would be labelled images of background."""
    config = semi_config(tmp_path)
    pipeline = config.train_dataloader.dataset.pipeline
    if not branches:
        pack = dict(type='mmdet.PackDetInputs', meta_keys=('img_path',))
        pipeline = [*pipeline[:-1], pack]
    config.train_cfg.unlabeled_dataloader.dataset.pipeline = pipeline
    refused(config, 'no unsup_teacher: .*mmdet.MultiBranch')


@pytest.mark.parametrize('branch', ['unsup_teacher', 'unsup_student'])
def test_view__without_homography(tmp_path, branch):
    config = semi_config(tmp_path)
    pipeline = config.train_cfg.unlabeled_dataloader.dataset.pipeline
    pack = pipeline[-1][branch][-1]
    assert pack.type == 'mmdet.PackDetInputs'
    pack.meta_keys = ('img_path', 'ori_shape', 'img_shape')
    refused(config, 'no homography_matrix')


@pytest.mark.parametrize(
    'inputs, missing',
    [
        ([torch.zeros(3, 8, 8)], 'unsup_teacher'),
        (torch.zeros(1, 3, 8, 8), 'unsup_teacher'),
        (dict(sup=[1, 2]), 'unsup_teacher'),
        (dict(unsup_teacher=[1, 2]), 'unsup_student'),
        # one image of two would be no one's
        (dict(unsup_teacher=[1, 2], unsup_student=[1, None]), 'unsup_student'),
    ],
)
def test_views__of_every_image(inputs, missing):
    with pytest.raises(InputError, match=f'gives no {missing}'):
        check_views(dict(inputs=inputs))


def draws():
    """The next number of each generator."""
    return random.random(), float(np.random.rand()), float(torch.rand(1))


class Drawn(Dataset):
    """Augmentations that are drawn from every generator."""

    def __len__(self):
        return 1

    def __getitem__(self, index):
        draws()
        views = dict(unsup_teacher=1, unsup_student=1)
        return dict(inputs=views, data_samples=views)


def test_first_image__leaves_the_draws_of_the_run():
    found = []
    for look in (False, True):
        random.seed(0)
        np.random.seed(0)
        torch.manual_seed(0)
        if look:
            loader = DataLoader(Drawn(), collate_fn=pseudo_collate)
            check_first_image(loader, nn.Identity())
        found.append(draws())
    assert found[0] == found[1]


@pytest.mark.parametrize(
    'step',
    [
        dict(type='mmyolo.YOLOv5RandomAffine'),
        dict(type='mmdet.RandomOrder', transforms=[dict(type='mmdet.Expand')]),
        dict(type='RandomApply', transforms=[dict(type='mmdet.Expand')]),
    ],
)
@pytest.mark.parametrize('where', ['unsup_teacher', 'unsup_student', None])
def test_view__of_a_step_that_does_not_say_where_boxes_go(
    tmp_path, step, where
):
    """mmyolo's affine gives no homography, and that of the others is wrong."""
    config = semi_config(tmp_path)
    pipeline = config.train_cfg.unlabeled_dataloader.dataset.pipeline
    steps = pipeline if where is None else pipeline[-1][where]
    steps.insert(3 if where is None else 1, step)
    config.train_cfg.unlabeled_dataloader.dataset = dict(
        type='RepeatDataset',
        times=2,
        dataset=config.train_cfg.unlabeled_dataloader.dataset,
    )
    name = step['type'].split('.')[-1]
    name = 'Expand' if 'transforms' in step else name
    refused(config, f'unlabeled_dataloader: {name} .* does not record')


def test_phase_1__of_a_loss_that_wants_unlabelled_images():
    """mmdet's own semi-supervised detectors index the branch."""

    class Stock(SemiBaseDetector):
        def __init__(self):
            nn.Module.__init__(self)
            self.student, self.teacher = nn.Identity(), nn.Identity()

    check_model(Stock())
    with pytest.raises(InputError, match=r'burn_in_epochs=2: .*: set 0, and'):
        check_model(Stock(), 2)


def test_labelled_images__whose_classes_have_another_order(tmp_path):
    config = semi_config(tmp_path)
    dataset = config.train_dataloader.dataset
    classes = SteelSynthDataset.METAINFO['classes']
    other = dict(
        config.train_dataloader,
        dataset=dict(dataset, metainfo=dict(classes=classes[::-1])),
    )
    config.train_cfg.labeled_dataloaders = [other]
    refused(config, f'has the classes {", ".join(classes[::-1])}, train_')


@pytest.mark.parametrize('counts, told', [(2, True), (1, False)])
def test_epoch_that_ends_within_an_accumulation(
    tmp_path, logged, counts, told
):
    """Of 3 and 4 steps."""
    config = semi_config(tmp_path, max_epochs=1)
    config.optim_wrapper.accumulative_counts = counts
    train(config)
    assert ('end within an accumulation' in '\n'.join(logged)) == told


@pytest.mark.parametrize('ramp_steps, told', [(5, True), (4, False)])
def test_ramp_that_is_longer_than_phase_2(tmp_path, logged, ramp_steps, told):
    """Which has 4 steps."""
    config = semi_config(tmp_path, max_epochs=2)
    config.model.semi_train_cfg.ramp_steps = ramp_steps
    train(config)
    assert ('phase 2 has 4 steps' in '\n'.join(logged)) == told


@pytest.mark.parametrize(
    'ema, told',
    [
        (dict(type='ConstantEMA', alpha=0.9), 'a lower alpha (0.316 leaves'),
        (dict(type='ConstantEMA', alpha=0.8), ''),
        # 1/10 x 2/11 x 3/12 x 4/13
        (dict(type='WarmupEMA'), ''),
    ],
)
def test_teacher_that_hardly_moves(tmp_path, logged, ema, told):
    """0.9 ** 4 = 0.66, 0.8 ** 4 = 0.41 of what it began with; 0.316: 0.01."""
    train(semi_config(tmp_path, max_epochs=2, ema=ema))
    lines = [line for line in logged if 'what it began with' in line]
    assert bool(lines) == bool(told) and all(told in x for x in lines)


class Wide(Dataset):
    """Every third image is upright."""

    def __len__(self):
        return 12

    def __getitem__(self, index):
        return index

    def get_data_info(self, index):
        return dict(width=20 if index % 3 else 5, height=10)


@pytest.mark.parametrize('aspect', [True, False])
def test_pass_that_is_resumed__has_the_batches_that_were_left(aspect):
    data = Wide()
    sampler = DATA_SAMPLERS.build(dict(type='SeededSampler', dataset=data))
    build = AspectRatioBatchSampler if aspect else BatchSampler
    batches = build(sampler, 2, False)

    def rest(done):
        loader = DataLoader(data, batch_sampler=batches, collate_fn=list)
        return [[int(x) for x in batch] for batch in one_pass(loader, 0, done)]

    unbroken = rest(0)
    assert len(unbroken) == 6
    assert rest(2) == unbroken[2:]


def test_sampler__that_never_ends_an_epoch(tmp_path):
    config = semi_config(tmp_path)
    sampler = dict(type='InfiniteSampler')
    config.train_cfg.unlabeled_dataloader.sampler = sampler
    refused(config, 'InfiniteSampler never ends an epoch: take SeededSampler')
