"""CloseMosaicHook: from which epoch on the other pipeline is used."""

from types import SimpleNamespace

import pytest
from mmengine.dataset import BaseDataset
from mmengine.registry import DATASETS, TRANSFORMS
from mmengine.runner import IterBasedTrainLoop
from tiny_marks import marks_of

from dsym.engine import CloseMosaicHook
from dsym.errors import InputError


class Mark:
    """Gives a sample the number that the model will see."""

    def __init__(self, value):
        self.value = value

    def __call__(self, results):
        return dict(inputs=self.value)


@pytest.fixture
def _registered():
    class TwoSamples(BaseDataset):
        def load_data_list(self):
            return [dict(), dict()]

    DATASETS.register_module(module=TwoSamples)
    TRANSFORMS.register_module(module=Mark)
    yield
    DATASETS.module_dict.pop('TwoSamples')
    TRANSFORMS.module_dict.pop('Mark')


def two(mark):
    return dict(type='TwoSamples', pipeline=[dict(type='Mark', value=mark)])


def train(folder, max_epochs, last, workers, dataset=None):
    hook = dict(
        type='CloseMosaicHook',
        num_last_epochs=last,
        switch_pipeline=[dict(type='Mark', value=2)],
    )
    return marks_of(
        folder, dataset or two(1), hook, max_epochs, workers=workers
    )


@pytest.mark.usefixtures('_registered')
@pytest.mark.parametrize('workers', [0, 1])
@pytest.mark.parametrize('last', [2, 0.4])  # 0.4 of 5 epochs
def test_last_epochs(tmp_path, workers, last):
    marks = train(tmp_path, max_epochs=5, last=last, workers=workers)
    assert marks == [(e, 1 if e < 3 else 2) for e in range(5) for _ in 'ab']


@pytest.mark.usefixtures('_registered')
@pytest.mark.parametrize('workers', [0, 1])
def test_concatenated_and_repeated(tmp_path, workers):
    """The pipelines inside, also of a wrapper in a wrapper."""
    twice = dict(type='RepeatDataset', times=2, dataset=two(3))
    both = dict(type='ConcatDataset', datasets=[two(1), twice])
    marks = train(tmp_path, 2, last=1, workers=workers, dataset=both)
    expected = [(0, mark) for mark in (1, 1, 3, 3, 3, 3)]
    assert marks == expected + 6 * [(1, 2)]


@pytest.mark.usefixtures('_registered')
def test_all_epochs_and_none(tmp_path):
    for last, mark in ((3, 2), (0, 1)):
        marks = train(tmp_path, max_epochs=3, last=last, workers=0)
        assert {value for _, value in marks} == {mark}


@pytest.mark.usefixtures('_registered')
def test_more_epochs_than_there_are(tmp_path):
    with pytest.raises(InputError, match='max_epochs=2: lower it'):
        train(tmp_path, max_epochs=2, last=3, workers=0)


@pytest.mark.usefixtures('_registered')
def test_loop_without_epochs__is_refused():
    hook = CloseMosaicHook(0.5, [])
    runner = SimpleNamespace(
        train_loop=IterBasedTrainLoop.__new__(IterBasedTrainLoop)
    )
    with pytest.raises(InputError, match='counts epochs, and IterBased'):
        hook.before_train(runner)


def test_mixed_images__run_all_steps_of_the_other_pipeline(_registered):
    """mmdet's wrapper goes through its steps and their types side by side."""
    dataset = DATASETS.build(
        dict(
            type='mmdet.MultiImageMixDataset',
            dataset=dict(two(1), metainfo={}),
            pipeline=[dict(type='mmdet.RandomFlip', prob=0.5)],
        )
    )
    others = [dict(type='mmdet.RandomFlip', prob=0.0) for _ in range(3)]
    CloseMosaicHook(1, others).change(dataset)
    pairs = [*zip(dataset.pipeline, dataset.pipeline_types)]
    assert [name for _, name in pairs] == ['mmdet.RandomFlip'] * 3
    assert [step.prob for step, _ in pairs] == [0.0] * 3
