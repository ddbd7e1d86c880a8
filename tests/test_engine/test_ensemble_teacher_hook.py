"""EnsembleTeacherHook: boxes of detectors instead of the mean teacher's."""

import shutil

import mmcv
import numpy as np
import pytest
import torch
from mmengine.config import Config, ConfigDict
from mmengine.hooks import Hook
from mmengine.registry import MODELS, init_default_scope
from mmengine.structures import InstanceData
from tiny_semi import CONFIGS, resized, semi_config, train
from two_ranks import on_two_ranks

from dsym.datasets import SteelSynthDataset
from dsym.engine.ensemble_teacher_hook import find_detector, fuse, predict
from dsym.errors import InputError
from dsym.inference.model import ModelFiles
from dsym.inference.predictor import build_predictor

CLASSES = SteelSynthDataset.METAINFO['classes']
CFG = ConfigDict(
    score_thr=0.05,
    nms=dict(type='nms', iou_threshold=0.6, class_agnostic=True),
    max_per_img=100,
)


def detected(*rows):
    """Rows of corners, label and score."""
    rows = torch.tensor(rows).reshape(-1, 6)
    return InstanceData(
        bboxes=rows[:, :4], labels=rows[:, 4].long(), scores=rows[:, 5]
    )


def test_two_boxes_of_a_class_are_one_at_their_weighted_mean():
    """IoU 10 / 12; (0.8 10 + 0.4 12) / 1.2 = 10.667; (0.8 + 0.4) / 2."""
    boxes = fuse(
        [detected((0, 0, 10, 10, 2, 0.8)), detected((0, 0, 12, 10, 2, 0.4))],
        0.55,
        CFG,
    )
    expected = torch.tensor([[0, 0, 32 / 3, 10]])
    torch.testing.assert_close(boxes.bboxes, expected)
    torch.testing.assert_close(boxes.scores, torch.tensor([0.6]))
    assert boxes.labels.tolist() == [2] and boxes.rows.tolist() == [0]


def test_what_one_of_two_has_counts_half():
    """That of 0.08 is left out then."""
    boxes = fuse(
        [
            detected((0, 0, 10, 10, 2, 0.8), (40, 40, 50, 50, 0, 0.08)),
            detected((20, 20, 30, 30, 1, 0.6)),
        ],
        0.55,
        CFG,
    )
    assert boxes.labels.tolist() == [2, 1]
    torch.testing.assert_close(boxes.scores, torch.tensor([0.4, 0.3]))


def test_one_place_has_one_class_as_the_settings_say():
    """Two classes are not fused, and the NMS over all leaves the better."""
    found = [
        detected((0, 0, 10, 10, 2, 0.8), (0, 0, 10, 10, 1, 0.6)),
        detected((0, 0, 10, 10, 2, 0.8)),
    ]
    assert fuse(found, 0.55, CFG).labels.tolist() == [2]
    every = CFG.copy()
    every.nms = dict(type='nms', iou_threshold=0.6)
    assert fuse(found, 0.55, every).labels.tolist() == [2, 1]


def test_image_without_a_box():
    boxes = fuse([detected(), detected()], 0.55, CFG)
    assert boxes.bboxes.shape == (0, 4) and len(boxes.rows) == 0


def save(folder, model, seed, classes=CLASSES):
    """A detector as a training leaves it."""
    folder.mkdir()
    base = Config.fromfile(CONFIGS / '_base_/datasets/semi_224.py')
    pipeline = resized(base.test_pipeline)
    settings = dict(
        default_scope='mmdet',
        model=model,
        test_dataloader=dict(dataset=dict(pipeline=pipeline)),
    )
    Config(settings).dump(folder / 'trained.py')
    init_default_scope('mmyolo')
    torch.manual_seed(seed)
    checkpoint = dict(
        meta=dict(dataset_meta=dict(classes=classes)),
        state_dict=MODELS.build(model).state_dict(),
    )
    torch.save(checkpoint, folder / 'epoch_1.pth')
    return str(folder / 'epoch_1.pth')


@pytest.fixture
def config(tmp_path):
    """One epoch of phase 2 on eight images, without consistency."""
    found = semi_config(tmp_path, burn_in=0, max_epochs=1)
    found.pop('labeled_loader')
    found.model.semi_train_cfg.consistency = None
    return found


@pytest.fixture
def detectors(tmp_path, config):
    model = config.model.detector
    return [save(tmp_path / f'{i}', model, i) for i in range(2)]


class Watch(Hook):
    """Notes the pseudo-labels of every step, and what the teacher sees."""

    def __init__(self):
        self.records, self.seen = [], []

    def before_train(self, runner):
        for name, module in (
            ('whole', runner.model.teacher),
            ('features', runner.model.teacher.backbone),
        ):
            module.register_forward_pre_hook(
                lambda *_, name=name: self.seen.append(name)
            )

    def after_train_iter(self, runner, batch_idx, data_batch, outputs):
        self.records += runner.model.pseudo_records


@pytest.mark.parametrize('consistency', [None, dict(type='ConsistencyLoss')])
def test_student_learns_what_all_of_them_found(config, detectors, consistency):
    """Of consistency the teacher has to look at the images all the same."""
    config.model.semi_train_cfg.consistency = consistency
    config.custom_hooks = [
        dict(type='EnsembleTeacherHook', detectors=detectors)
    ]
    watch = Watch()
    runner, steps = train(config, hooks=[watch])
    # the validation at the end calls the whole detector
    asked = watch.seen.count('features') - watch.seen.count('whole')
    assert asked == (0 if consistency is None else 4)
    cfg = runner.model.pseudo_cfg
    predictors = [
        build_predictor(
            ModelFiles(path.replace('epoch_1.pth', 'trained.py'), path),
            cfg.score_thr,
            test_cfg=cfg,
        )
        for path in detectors
    ]
    assert len(watch.records) == 8
    for record in watch.records:
        image = mmcv.imread(record.img_path)
        expected = fuse([x([image])[0] for x in predictors], 0.55, cfg)
        found = record.stages['predicted']
        assert len(found) == len(expected) > 0
        # alone or in a batch: sums in another order
        torch.testing.assert_close(
            found.bboxes, expected.bboxes, rtol=1e-3, atol=1e-2
        )
        assert found.labels.tolist() == expected.labels.tolist()
    assert all('unsup_loss_cls' in step['outputs'] for step in steps)


def test_training_beside_it_is_the_same(config, detectors, tmp_path):
    """No random number is drawn, no scope is left behind."""
    config.train_cfg.burn_in_epochs = 1
    _, plain = train(config)
    config.experiment_name = 'ensemble'
    config.custom_hooks = [
        dict(type='EnsembleTeacherHook', detectors=detectors)
    ]
    _, steps = train(config)
    losses = [
        [step['outputs']['loss'] for step in run if step['epoch'] == 0]
        for run in (plain, steps)
    ]
    assert len(losses[0]) == 3 and losses[0] == losses[1]


def test_mistake_is_named_before_the_first_step(tmp_path, config, detectors):
    def message(detectors):
        config.custom_hooks = [
            dict(type='EnsembleTeacherHook', detectors=detectors)
        ]
        with pytest.raises(InputError) as caught:
            train(config)
        return str(caught.value)

    model = config.model.detector
    other = save(tmp_path / 'other', model, 0, CLASSES[::-1])
    assert f'{other} has the classes {CLASSES[-1]}, ' in message([other])
    assert 'none.pth' in message([*detectors, str(tmp_path / '0/none.pth')])
    assert 'give a list of checkpoints' in message(detectors[0])
    (tmp_path / '0/again.py').write_text('')
    assert 'beside ' in message(detectors)
    (tmp_path / '1/trained.py').unlink()
    assert 'no such config' in message(detectors[1:])


def test_published_detectors__share_a_folder(detectors, tmp_path):
    """Each has the config of its name."""
    for name in 'a', 'b':
        for suffix, source in (('.pth', detectors[0]), ('.py', None)):
            source = source or tmp_path / '0' / 'trained.py'
            shutil.copy(source, tmp_path / f'{name}{suffix}')
    found = find_detector(str(tmp_path / 'b.pth'))
    assert found == (tmp_path / 'b.py', tmp_path / 'b.pth')


def test_other_loop_is_refused(config, detectors):
    config.train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=1)
    config.custom_hooks = [
        dict(type='EnsembleTeacherHook', detectors=detectors)
    ]
    with pytest.raises(
        InputError, match='DSYMDetector in EpochBasedTrainLoop makes no'
    ):
        train(config)


TWO_RANKS = """
import torch
torch.set_num_threads(1)
from mmengine.config import ConfigDict
from dsym.engine import EnsembleTeacherHook

def main(rank, folder):
    hook = EnsembleTeacherHook(['dsym://yolov9-t_neu-det-labeled20'])
    cfg = ConfigDict(
        score_thr=0.0, nms=dict(type='nms', iou_threshold=0.6), max_per_img=3,
        multi_label=False)
    classes = ('crazing', 'inclusion', 'patches', 'pitted_surface',
               'rolled-in_scale', 'scratches')
    paths = [f'{folder}/{i}.png' for i in range(3)]
    boxes = hook.fused_boxes(paths, classes, cfg)
    return {k.rsplit('/', 1)[1]: v.scores.tolist() for k, v in boxes.items()}
"""


def test_two_ranks__label_a_part_each_and_know_all(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(3):
        image = rng.integers(0, 255, (200, 200, 3), dtype=np.uint8)
        mmcv.imwrite(image, str(tmp_path / f'{i}.png'))
    (first, second), _ = on_two_ranks(TWO_RANKS, tmp_path, tmp_path)
    assert first == second
    assert sorted(first) == ['0.png', '1.png', '2.png']
    assert all(len(scores) > 0 for scores in first.values())


def test_two_boxes_of_one_of_five__count_once():
    """Its NMS leaves pairs up to 0.6 where fusion begins at 0.55."""
    boxes = fuse(
        [
            detected((0, 0, 100, 100, 2, 0.8), (0, 0, 100, 58, 2, 0.8)),
            *[detected()] * 4,
        ],
        0.55,
        CFG,
    )
    torch.testing.assert_close(boxes.scores, torch.tensor([0.16]))


def test_image_that_cannot_be_read__gets_no_labels(tmp_path):
    path = tmp_path / 'bad.jpg'
    path.write_bytes(b'no image')
    (found,) = predict(lambda images: [], [str(path)])
    assert len(found) == 0
    assert len(fuse([found, found], 0.55, CFG)) == 0
