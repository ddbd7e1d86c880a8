import shutil
from collections import namedtuple
from types import SimpleNamespace

import pytest
import torch
import torch.nn as nn
from mmdet.engine.hooks import MeanTeacherHook
from mmdet.models.detectors import SemiBaseDetector
from mmengine.hooks import CheckpointHook, EMAHook
from mmengine.model import BaseModel
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import Runner
from tiny_semi import semi_config
from torch.utils.data import DataLoader, Dataset

from dsym.checkpoint_loading import load_and_compare
from dsym.engine import PreflightHook
from dsym.engine.preflight_hook import (
    check_num_classes,
    check_teacher,
    in_head,
    planned_checkpoints,
)
from dsym.errors import InputError

Usage = namedtuple('Usage', 'total used free')
MB = 2**20


@MODELS.register_module()
class PreflightNet(BaseModel):
    """Backbone, class-dependent head and an auxiliary branch."""

    def __init__(self, width=8, num_classes=6, aux=True):
        super().__init__()
        self.backbone = nn.Sequential(nn.Linear(4, width), nn.ReLU())
        self.norm = nn.BatchNorm1d(width)
        self.bbox_head = nn.Linear(width, num_classes)
        if aux:
            self.aux_branch = nn.Linear(width, 2)

    def forward(self, x, mode='tensor'):
        out = self.bbox_head(self.norm(self.backbone(x)))
        return {'loss': out.square().mean()} if mode == 'loss' else out


def make_runner(work_dir, model=None, optimizer='AdamW', hooks=(), **kwargs):
    checkpoint = {
        'type': 'CheckpointHook',
        'interval': 1,
        **kwargs.pop('checkpoint', {}),
    }
    return Runner(
        model=model or PreflightNet(),
        work_dir=str(work_dir),
        train_dataloader=DataLoader(
            [{'x': torch.randn(4)} for _ in range(4)], batch_size=2
        ),
        train_cfg={'by_epoch': True, 'max_epochs': 2},
        optim_wrapper={'optimizer': {'type': optimizer, 'lr': 0.01}},
        default_hooks={'checkpoint': checkpoint},
        custom_hooks=[{'type': 'PreflightHook'}, *hooks],
        experiment_name=f'preflight_{work_dir.name}_{id(kwargs)}',
        **kwargs,
    )


@pytest.fixture
def checkpoint(tmp_path):
    """A checkpoint as Runner writes it, of PreflightNet()."""
    make_runner(tmp_path / 'first', hooks=[{'type': 'EMAHook'}]).train()
    return str(tmp_path / 'first/epoch_2.pth')


def load(tmp_path, checkpoint, model, **kwargs):
    runner = make_runner(
        tmp_path / 'second', model, load_from=checkpoint, **kwargs
    )
    lines = []
    runner.logger.filters.clear()
    runner.logger.addFilter(lambda r: lines.append(r.getMessage()) or True)
    runner.train()
    return [line for line in lines if 'fits' in line]


def test_same_architecture__passes(tmp_path, checkpoint):
    assert load(tmp_path, checkpoint, PreflightNet()) == []


def test_resume_with_ema__passes_and_goes_on(tmp_path, checkpoint):
    runner = make_runner(
        tmp_path / 'first',
        hooks=[{'type': 'EMAHook'}],
        resume=True,
    )
    runner.train()
    assert runner.epoch == 2


def test_other_architecture__one_line_with_figures(tmp_path, checkpoint):
    with pytest.raises(InputError) as error:
        load(tmp_path, checkpoint, PreflightNet(width=16))
    text = str(error.value)
    assert '\n' not in text
    # Of 2 + 4 (norm without its counter) + 2 + 2 entries only the two
    # biases of bbox_head and aux_branch do not depend on the width.
    assert f'{checkpoint} fits 2 of the 10 entries of PreflightNet' in text
    assert 'backbone.0.weight' in text
    assert 'init_cfg' in text


def test_missing_entries__are_refused(tmp_path):
    path = tmp_path / 'part.pth'
    state = PreflightNet().state_dict()
    del state['norm.weight']
    torch.save({'state_dict': state, 'meta': {}}, path)
    with pytest.raises(InputError, match=r'1 are missing, as norm\.weight'):
        load(tmp_path, str(path), PreflightNet())


def test_foreign_file__fits_nothing(tmp_path):
    path = tmp_path / 'foreign.pth'
    torch.save({'epoch': 3, 'weights': {'a': torch.zeros(2)}}, path)
    with pytest.raises(InputError, match=r'foreign\.pth fits 0 of the 10'):
        load(tmp_path, str(path), PreflightNet())


def test_other_classes__warns_and_passes(tmp_path, checkpoint):
    (line,) = load(tmp_path, checkpoint, PreflightNet(num_classes=3))
    assert 'fits 8 of the 10' in line
    assert '2 class-dependent ones' in line


def test_auxiliary_branch_missing__warns_and_passes(tmp_path):
    path = tmp_path / 'plain.pth'
    state = PreflightNet(aux=False).state_dict()
    torch.save({'state_dict': state, 'meta': {}}, path)
    (line,) = load(tmp_path, str(path), PreflightNet())
    assert '2 optional ones are missing' in line


def yolov9(arch='t', num_classes=6):
    """YOLOv9 of the size t or s with its auxiliary branch."""
    channels = {'t': [64, 96, 128], 's': [128, 192, 256]}[arch]
    module = {'type': 'YOLOv9HeadModule', 'in_channels': channels}
    cfg = {
        'type': 'YOLODetector',
        'backbone': {'type': 'YOLOv9Backbone', 'arch': arch},
        'neck': {'type': 'YOLOv9PAFPN', 'arch': arch},
        'bbox_head': {
            'type': 'YOLOv9Head',
            'head_module': {**module, 'num_classes': num_classes},
            'aux_head_module': module,
        },
    }
    with DefaultScope.overwrite_default_scope('mmyolo'):
        return MODELS.build(cfg)


def test_yolov9__other_classes_differ_in_the_head_only():
    total, missing, mismatched = load_and_compare(
        yolov9(num_classes=50), yolov9().state_dict()
    )
    assert missing == []
    # min(2 x classes, 128) channels of the class branch exceed the 64 of P3
    # only for 50 classes: 2 branches x 3 levels x (two convs with 4 norm
    # entries each, a biased 1x1) change.
    assert len(mismatched) == 2 * 3 * (2 * (1 + 4) + 2)
    assert all('cls' in key and in_head(key) for key in mismatched)
    assert len(mismatched) < total / 2


def test_yolov9__without_auxiliary_branch_lacks_optional_entries_only():
    state = yolov9().state_dict()
    plain = {key: v for key, v in state.items() if 'aux' not in key}
    _, missing, mismatched = load_and_compare(yolov9(), plain)
    assert mismatched == [] and len(missing) > 0
    assert all('aux' in key for key in missing)


def test_yolov9__another_size_differs_outside_the_head():
    _, _, mismatched = load_and_compare(yolov9('s'), yolov9().state_dict())
    assert any(key.startswith('backbone.') for key in mismatched)


@pytest.mark.parametrize('order', [1, -1])
def test_tested_images__whose_classes_have_another_order(tmp_path, order):
    class Images(Dataset):
        metainfo = dict(classes=('a', 'b')[::order])

        def __len__(self):
            return 1

        def __getitem__(self, index):
            return dict(x=torch.zeros(4))

    model = PreflightNet()
    file = str(tmp_path / 'trained.pth')
    meta = dict(dataset_meta=dict(classes=['a', 'b']))
    torch.save(dict(state_dict=model.state_dict(), meta=meta), file)
    runner = Runner(
        model=model,
        work_dir=str(tmp_path),
        test_dataloader=DataLoader(Images()),
        test_cfg=dict(),
        test_evaluator=[],
        load_from=file,
        custom_hooks=[dict(type='PreflightHook')],
        experiment_name=f'preflight_{tmp_path.name}',
    )
    if order == 1:
        assert runner.test() == {}
    else:
        with pytest.raises(InputError, match=r'classes a, b, test_.* b, a:'):
            runner.test()


def test_module_prefix__of_ddp_is_stripped():
    model = PreflightNet()
    state = {f'module.{k}': v for k, v in model.state_dict().items()}
    assert load_and_compare(model, {'state_dict': state}) == (10, [], [])


def test_teacher_student__takes_a_plain_detectors_checkpoint():
    class TeacherStudent(SemiBaseDetector):
        def __init__(self):
            BaseModel.__init__(self)
            self.student = PreflightNet()
            self.teacher = PreflightNet()

    state = PreflightNet().state_dict()
    total, missing, mismatched = load_and_compare(TeacherStudent(), state)
    assert (total, missing, mismatched) == (20, [], [])


class Big(PreflightNet):
    """One million weights in the backbone: 4,000,000 bytes and a little."""

    def __init__(self):
        super().__init__()
        self.backbone = nn.Sequential(
            nn.Linear(4, 200_000), nn.Linear(200_000, 1), nn.Linear(1, 8)
        )


def limit_disk(monkeypatch, free):
    monkeypatch.setattr(
        shutil, 'disk_usage', lambda path: Usage(2 * free, free, free)
    )


@pytest.mark.parametrize(
    'optimizer, ema, keep, tensors',
    [
        ('AdamW', False, -1, 2 * 3),  # both epochs: weights, two moments
        ('AdamW', False, 1, 3),
        ('AdamW', True, 1, 4),
        ('SGD', False, 1, 1),
    ],
)
def test_disk__needs_weights_ema_and_optimizer_state(
    tmp_path, monkeypatch, optimizer, ema, keep, tensors
):
    """Starts with just enough, refuses with one megabyte less.

    A tensor set is 200,000 x 6 float32 = 4.58 MB; 64 MB are spared for logs.
    """
    needed = tensors * 1_200_000 * 4 + 64 * MB

    def run(free):
        limit_disk(monkeypatch, free)
        runner = make_runner(
            tmp_path / 'run',
            Big(),
            optimizer,
            [{'type': 'EMAHook'}] if ema else [],
            checkpoint={'max_keep_ckpts': keep},
        )
        runner._train_loop = runner.build_train_loop(runner._train_loop)
        runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
        (hook,) = (h for h in runner.hooks if isinstance(h, PreflightHook))
        hook.before_train(runner)

    run(needed + MB)
    with pytest.raises(InputError) as error:
        run(needed - MB)
    text = str(error.value)
    assert '\n' not in text
    assert str(tmp_path / 'run') in text
    assert f'only {(needed - MB) // MB + 1} MB are free' in text
    assert 'max_keep_ckpts' in text


def test_disk__refused_by_a_training_run(tmp_path, monkeypatch):
    limit_disk(monkeypatch, 10 * MB)
    with pytest.raises(InputError, match='10 MB are free'):
        make_runner(tmp_path / 'run').train()


@pytest.mark.parametrize(
    'cfg, max_epochs, expected',
    [
        ({'interval': 1}, 10, 10),
        ({'interval': 3}, 10, 4),  # 3, 6, 9 and the last
        ({'interval': 5}, 10, 2),
        ({'interval': 5, 'save_begin': 4}, 10, 3),  # 4, 9 and the last
        ({'interval': 4, 'save_last': False}, 10, 2),
        ({'interval': -1}, 10, 1),
        ({'interval': 1, 'max_keep_ckpts': 3}, 10, 3),
        ({'interval': 6, 'max_keep_ckpts': 3}, 10, 2),
    ],
)
def test_planned_checkpoints__as_checkpoint_hook_writes(
    cfg, max_epochs, expected
):
    runner = namedtuple('Loops', 'max_epochs max_iters')(max_epochs, 1000)
    assert planned_checkpoints(runner, CheckpointHook(**cfg)) == expected


def test_priority__before_ema():
    assert PreflightHook.priority == 'VERY_HIGH'
    assert EMAHook.priority == 'NORMAL'


def test_teacher_whose_batch_statistics_stand_still(tmp_path):
    with DefaultScope.overwrite_default_scope('mmyolo'):
        model = MODELS.build(semi_config(tmp_path).model)

    def check(model, **options):
        hooks = [MeanTeacherHook(**options)]
        check_teacher(SimpleNamespace(model=model, hooks=hooks))

    with pytest.raises(InputError, match='skip_buffer=False'):
        check(model)  # mmdet's default
    check(model, skip_buffer=False)
    for name in ('running_mean', 'running_var'):
        for norm in model.teacher.modules():
            if hasattr(norm, name):
                setattr(norm, name, None)
    check(model)


@pytest.mark.parametrize('classes', [('a', 'b', 'c'), tuple('abcdefg'), ()])
def test_head_of_other_classes__is_told_before_the_first_step(classes):
    dataset = SimpleNamespace(metainfo=dict(classes=classes))
    loop = SimpleNamespace(dataloader=SimpleNamespace(dataset=dataset))

    def check(num_classes):
        check_num_classes(
            SimpleNamespace(
                model=yolov9(num_classes=num_classes), train_loop=loop
            )
        )

    check(len(classes) or 6)
    if classes:
        with pytest.raises(InputError, match=f'for 6 .* have {len(classes)}'):
            check(6)


def test_run_of_teacher_and_student__is_to_be_exported(tmp_path):
    state = PreflightNet().state_dict(prefix='student.')
    path = tmp_path / 'semi.pth'
    torch.save({'state_dict': state, 'meta': {}}, path)
    with pytest.raises(InputError, match=r'semi\.pth .*export_detector\.py'):
        load(tmp_path, str(path), PreflightNet())
