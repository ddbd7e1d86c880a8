"""Selectors see the whole folder; CLIP's counts add up."""

import numpy as np
import pytest
import torch
from mmengine.config import Config, DictAction
from test_inference.test_writers import boxes_of

from dsym.datasets import CLASSES as NEU_CLASSES
from dsym.errors import InputError
from dsym.inference.pseudo_labels import (
    Selection,
    Spool,
    build_selector,
    labeled_images,
    marks,
    needs_labeled,
)
from dsym.inference.sources import Frame
from dsym.models.detectors.chosen_images import refuse_images
from dsym.models.task_modules import pseudo_selectors
from dsym.models.task_modules.class_thresholds import ClassThresholds

PIXELS = np.zeros((30, 40, 3), np.uint8)
CLASSES = ('a', 'b')


def spool_of(folder, scores):
    """An image a score, with one box of class 0 and one of class 1."""
    spool = Spool(folder / 'x.jsonl')
    for i, score in enumerate(scores):
        boxes = boxes_of((0, score, 0, 0, 9, 9), (1, 0.95, 9, 9, 20, 20))
        spool.write(Frame(f'{i}.png', PIXELS, path=folder / f'{i}.png'), boxes)
    spool.close()
    return spool


class Refusing:
    """It refuses images by their names; of others it keeps all boxes."""

    def __init__(self, names):
        self.names = names
        self.asked = []

    def keep_images(self, samples):
        names = [x.img_path.rpartition('/')[2] for x in samples]
        self.asked += names
        return [x not in self.names for x in names]

    def __call__(self, samples, labels):
        return refuse_images(self, samples, labels)


def kept(spool, settings):
    selector = build_selector(settings, spool, None, 2)
    selection = Selection(spool, selector, CLASSES)
    images = [f.name for f, boxes in selection if 0 in boxes.labels]
    return images, selection.summary()


def test_score_threshold__by_hand(tmp_path):
    spool = spool_of(tmp_path, [0.2, 0.5, 0.8])
    images, summary = kept(spool, dict(type='ScoreThreshold', score_thr=0.5))
    assert images == ['1.png', '2.png']
    assert summary['boxes'] == dict(
        predicted=dict(a=3, b=3), selected=dict(a=2, b=3)
    )
    assert summary['images'] == dict(total=3, refused=0, empty=0)


@pytest.mark.parametrize('reverse', [False, True])
def test_class_thresholds__as_many_as_expected_in_any_order(tmp_path, reverse):
    scores = sorted([0.15, 0.2, 0.3, 0.4, 0.6, 0.7], reverse=reverse)
    spool = spool_of(tmp_path, scores)
    # 0.5 a: 3 of 6; 1 b: 6 of 6
    settings = dict(type='ClassThresholds', boxes_per_image=[0.5, 1.0])
    images, summary = kept(spool, settings)
    assert sorted(scores[int(x[0])] for x in images) == [0.4, 0.6, 0.7]
    assert summary['boxes']['selected'] == dict(a=3, b=6)


def test_mixture__splits_two_groups(tmp_path):
    rng = np.random.default_rng(0)
    low, high = rng.normal(0.3, 0.02, 40), rng.normal(0.7, 0.02, 20)
    spool = spool_of(tmp_path, [*high, *low])
    images, _ = kept(spool, dict(type='MixtureThreshold'))
    assert images == [f'{i}.png' for i in range(20)]


@pytest.mark.parametrize('more', [{}, dict(interval=1000)])
def test_mixture__one_fit_for_all_images(tmp_path, monkeypatch, more):
    fits = []

    def split(values):
        fits.append(len(values))
        return 0.3 + 0.2 * (len(fits) > 2)  # of two classes

    monkeypatch.setattr(pseudo_selectors, 'split_by_mixture', split)
    spool = spool_of(tmp_path, [0.4] * 20)
    images, _ = kept(spool, dict(type='MixtureThreshold', **more))
    assert images == [f'{i}.png' for i in range(20)]
    assert fits == [20, 20]


def test_class_thresholds__are_computed_once(tmp_path, monkeypatch):
    asked = []
    plain = ClassThresholds.threshold

    def threshold(self, *args):
        asked.append(args)
        return plain(self, *args)

    monkeypatch.setattr(ClassThresholds, 'threshold', threshold)
    scores = np.linspace(0.1, 0.9, 50)
    spool = spool_of(tmp_path, scores)
    settings = dict(type='ClassThresholds', boxes_per_image=[0.5, 1.0])
    images, _ = kept(spool, settings)
    assert images == [f'{i}.png' for i in range(25, 50)]
    assert sorted(asked) == [(0, 0.5), (0, 1.0), (1, 0.5), (1, 1.0)]


def test_class_thresholds__of_a_smaller_window_follow_the_images(tmp_path):
    spool = spool_of(tmp_path, [0.9] * 8 + [0.2] * 8)
    settings = dict(
        type='ClassThresholds', boxes_per_image=[0.5, 1.0], window=4
    )
    images, _ = kept(spool, settings)
    # 2 of the last 4 are expected: at 8 and 9 these are better ones
    assert images == [f'{i}.png' for i in range(16) if i not in (8, 9)]


def test_labelled_images__what_is_missing_is_said():
    why = needs_labeled(dict(type='ClassThresholds'), None)
    with pytest.raises(InputError, match=f'{why} needs labelled .*--labeled'):
        labeled_images(Config(), why, CLASSES)
    given = dict(type='ClassThresholds', boxes_per_image=[1, 1])
    assert needs_labeled(given, None) == ''
    assert needs_labeled(given, 'folder') == '--clip'


def test_labelled_images__without_synthetic_ones(tmp_path, session_cache):
    real = dict(
        type='SteelSynthDataset',
        data_root=str(tmp_path / 'steel'),
        num_images=3,
        num_workers=1,
        serialize_data=False,
    )
    # painting would fail
    augmented = dict(
        type='DiffusionAugment', dataset=real, painter=dict(type='No')
    )
    for dataset, count in (
        (augmented, 3),
        (dict(type='RepeatDataset', dataset=augmented, times=2), 6),
        (dict(type='ConcatDataset', datasets=[augmented, real]), 6),
    ):
        config = Config(dict(train_dataloader=dict(dataset=dataset)))
        found = labeled_images(config, '--clip', NEU_CLASSES)
        assert len(found) == count
        assert 'steel' in found.get_data_info(count - 1)['img_path']
    with pytest.raises(InputError, match=r'have the classes .*--labeled'):
        labeled_images(config, '--clip', NEU_CLASSES[::-1])


def test_unknown_selector__one_line(tmp_path):
    spool = spool_of(tmp_path, [0.2])
    for settings in (dict(type='Best'), dict(score_thr=0.3), dict(type='')):
        with pytest.raises(InputError, match=r'type=.*: give type='):
            kept(spool, settings)
    with pytest.raises(InputError, match=r'scor_thr.*give type='):
        kept(spool, dict(type='ScoreThreshold', scor_thr=0.3))
    with pytest.raises(InputError, match="score_thr='abc': give a number"):
        kept(spool, dict(type='ScoreThreshold', score_thr='abc'))


@pytest.mark.parametrize(
    ('settings', 'message'),
    [
        ('type=ClassThresholds boxes_per_image=1', 'boxes_per_image=1: give'),
        (
            'type=ClassThresholds boxes_per_image=1,2,3',
            r'--selector boxes_per_image=\[1, 2, 3\]: .* has 2 classes: leave',
        ),
        (
            'type=MixtureThreshold num_classes=3 interval=1',
            '--selector num_classes=3: the detector has 2 classes: leave',
        ),
        (
            'type=MixtureThreshold bounds=0.2,0.5,0.9',
            r'bounds=\[0.2, 0.5, 0.9\]: give two numbers',
        ),
        ('type=ConstantEMA', '--selector type=ConstantEMA: give type=Score'),
        ('type=SparseTaskAlignedAssigner', 'Assigner: give type=Score'),
    ],
)
def test_selector_of_other_settings__before_an_image(
    tmp_path, settings, message
):
    pairs = (x.split('=') for x in settings.split())
    settings = {k: DictAction._parse_iterable(v) for k, v in pairs}
    with pytest.raises(InputError, match=message) as error:
        build_selector(settings, spool_of(tmp_path, []), None, 2)
    assert '\n' not in str(error.value)


@pytest.mark.parametrize(
    'settings',
    [
        dict(type='ScoreThreshold', score_thr=0.5),
        dict(type='ClassThresholds', boxes_per_image=[0.5, 1.0]),
        dict(type='ClassThresholds', boxes_per_image=[0.5, 1.0], window=9),
        dict(type='MixtureThreshold'),
        dict(type='MixtureThreshold', interval=16),
    ],
)
def test_refused_images__as_if_they_were_not_there(tmp_path, settings):
    scores = np.random.default_rng(0).uniform(0.1, 0.9, 80)
    scores[::2] = np.linspace(0.8, 0.9, 40)  # they would raise thresholds
    names = {f'{i}.png' for i in range(0, 80, 2)}
    judge = Refusing(names)
    spool = spool_of(tmp_path / 'all', scores)
    spool.ask(judge)
    assert judge.asked == [f'{i}.png' for i in range(80)]
    selector = build_selector(settings, spool, None, 2)
    selection = Selection(spool, selector, CLASSES, judge)
    found = {frame.name: boxes for frame, boxes in selection}
    assert {x for x, boxes in found.items() if boxes.refused} == names
    assert not sum(len(found[x]) for x in names)

    alone = spool_of(tmp_path / 'kept', scores[1::2])
    selector = build_selector(settings, alone, None, 2)
    for frame, boxes in Selection(alone, selector, CLASSES):
        same = found[f'{2 * int(frame.path.stem) + 1}.png']
        assert same.scores.tolist() == boxes.scores.tolist()
        assert same.labels.tolist() == boxes.labels.tolist()
        assert ('weights' in same) == ('weights' in boxes)
        if 'weights' in boxes:
            assert same.weights.tolist() == boxes.weights.tolist()
    summary = selection.summary()
    assert summary['images']['total'] == 80
    assert summary['images']['refused'] == 40
    assert summary['boxes']['predicted'] == dict(a=80, b=80)
    assert summary['boxes']['filtered'] == summary['boxes']['selected']


def test_refused_images__no_boxes_are_expected_of_them(tmp_path):
    spool = spool_of(tmp_path, [0.9, 0.8, 0.4, 0.3, 0.2, 0.15])
    spool.ask(Refusing({'0.png', '1.png'}))
    # 0.5 a: 2 of the 4 that are left
    settings = dict(type='ClassThresholds', boxes_per_image=[0.5, 1.0])
    images, summary = kept(spool, settings)
    assert images == ['2.png', '3.png']
    assert summary['images'] == dict(total=6, refused=2, empty=2)


def test_confidences__what_is_compared(tmp_path):
    spool = Spool(tmp_path / 'x.jsonl')
    for name, confidences in (('0', [0.6, 0.4]), ('1', [0.5, 0.9])):
        boxes = boxes_of((0, 0.9, 0, 0, 9, 9), (1, 0.1, 9, 9, 20, 20))
        boxes.confidences = torch.tensor(confidences)
        spool.write(Frame(name, PIXELS, path=tmp_path / name), boxes)
    empty = boxes_of()
    empty.confidences = torch.zeros(0)
    spool.write(Frame('2', PIXELS, path=tmp_path / '2'), empty)
    spool.close()
    settings = dict(type='ScoreThreshold', by='confidences', score_thr=0.5)
    selector = build_selector(settings, spool, None, 2)
    found = [x.labels.tolist() for _, x in Selection(spool, selector, CLASSES)]
    assert found == [[0], [0, 1], []]


def test_filter__drops_boxes_and_images(tmp_path):
    def judge(samples, labels):
        assert [x.ori_shape for x in samples] == [[30, 40]] * 3
        for i, boxes in enumerate(labels):
            boxes.clip_scores = torch.full((len(boxes),), 0.25)
            boxes.set_metainfo(dict(refused=i == 1))
        return [x[:0] if i == 1 else x[:1] for i, x in enumerate(labels)]

    spool = spool_of(tmp_path, [0.6, 0.7, 0.8])
    selector = build_selector(
        dict(type='TwoThresholds', low=0.5, high=0.75), spool, None, 2
    )
    selection = Selection(spool, selector, CLASSES, judge)
    found = [boxes for _, boxes in selection]
    assert list(map(len, found)) == [1, 0, 1]
    assert marks(found[0]) == [dict(pseudo=1, weight=0.6, clip_score=0.25)]
    assert marks(found[2])[0]['weight'] == 1
    summary = selection.summary()
    assert summary['images'] == dict(total=3, refused=1, empty=1)
    assert summary['boxes']['filtered'] == dict(a=2, b=0)
