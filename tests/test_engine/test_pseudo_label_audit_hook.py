"""PseudoLabelAuditHook: in real runs of a model that labels what it is told.

The truth is one box of class a in 0.jpg and none in 1.jpg.
"""

import json
from typing import Dict, NamedTuple

import pytest
import torch
from mmengine.dataset import BaseDataset
from mmengine.model import BaseModel
from mmengine.registry import DATASETS
from mmengine.runner import Runner
from mmengine.structures import InstanceData
from torch import nn

from dsym.engine.pseudo_label_audit_hook import PseudoLabelAuditHook
from dsym.errors import InputError

BOX = [10.0, 10.0, 30.0, 30.0]


class Record(NamedTuple):
    img_path: str
    stages: Dict[str, InstanceData]


def found(*boxes):
    return InstanceData(
        bboxes=torch.tensor(boxes).reshape(-1, 4),
        scores=torch.full((len(boxes),), 0.9),
        labels=torch.zeros(len(boxes), dtype=torch.long),
    )


def record(path):
    """The same two boxes in each image, of which 0.jpg keeps the true one."""
    stages = {'predicted': found(BOX, [50.0, 50.0, 60.0, 60.0])}
    stages['selected'] = found(BOX) if '0.jpg' in path else found()
    return Record(path, stages)


class Labeller(BaseModel):
    """Has the records of one step after another, then none."""

    def __init__(self, steps=()):
        super().__init__()
        self.layer = nn.Linear(1, 1)
        self.steps = list(steps)
        self.pseudo_records = []

    def forward(self, inputs, mode='tensor'):
        self.pseudo_records = self.steps.pop(0) if self.steps else []
        return dict(loss=self.layer(inputs.float().view(-1, 1)).sum())


@pytest.fixture(autouse=True)
def _registered():
    class Hidden(BaseDataset):
        METAINFO = dict(classes=('a', 'b'))

        def __init__(self, boxes=True, **kwargs):
            self.boxes = boxes
            super().__init__(**kwargs)

        def load_data_list(self):
            box = dict(bbox=BOX, bbox_label=0, ignore_flag=0)
            ignored = dict(bbox=BOX, bbox_label=1, ignore_flag=1)
            return [
                dict(
                    img_path='data/0.jpg',
                    instances=[box, ignored] if self.boxes else [],
                ),
                dict(img_path='data/1.jpg', instances=[]),
            ]

    DATASETS.register_module(module=Hidden)
    yield
    DATASETS.module_dict.pop('Hidden')


def train(folder, model, max_epochs=2, resume=False, **options):
    """Train two steps an epoch; give the runner."""
    dataset = dict(type='Hidden', boxes=options.pop('boxes', True))
    runner = Runner(
        model=model,
        work_dir=str(folder),
        train_dataloader=dict(
            batch_size=1,
            num_workers=0,
            collate_fn=dict(type='default_collate'),
            sampler=dict(type='DefaultSampler', shuffle=False),
            dataset=[dict(inputs=1), dict(inputs=2)],
        ),
        train_cfg=dict(by_epoch=True, max_epochs=max_epochs),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.0)),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', interval=1)),
        custom_hooks=[
            dict(type=PseudoLabelAuditHook, dataset=dataset, **options)
        ],
        visualizer=dict(
            type='Visualizer',
            name=f'{folder.name}{id(model)}',
            vis_backends=[dict(type='LocalVisBackend')],
        ),
        resume=resume,
        experiment_name=f'{folder.name}{id(model)}',
    )
    lines = []
    runner.logger.filters.clear()
    runner.logger.addFilter(lambda r: lines.append(r.getMessage()) or True)
    runner.train()
    return [line for line in lines if 'pseudo-labels of epoch' in line]


def read(folder, name='pseudo_labels.json'):
    return json.loads((folder / name).read_text())


def test_two_epochs__figures_table_and_scalars(tmp_path):
    """Epoch 1: 0.jpg, then 1.jpg; epoch 2: 1.jpg only, in its second step."""
    first, second = record('data/0.jpg'), record('data/1.jpg')
    steps = [[first], [second], [], [second]]
    tables = train(tmp_path, Labeller(steps))

    one, two = read(tmp_path)
    assert (one['epoch'], two['epoch']) == (1, 2)
    assert (one['iter'], two['iter']) == (2, 4)
    predicted, selected = one['stages'].values()
    assert (predicted['precision'], predicted['recall']) == (1 / 4, 1)
    assert (selected['precision'], selected['recall']) == (1, 1)
    assert selected['boxes_per_image'] == 0.5
    assert selected['classes']['b']['truth'] == 0  # ignored boxes are none
    assert two['stages']['predicted']['precision'] == 0
    assert two['stages']['selected']['precision'] is None
    assert two['stages']['selected']['images'] == 1

    assert len(tables) == 2
    rows = [
        [cell.strip() for cell in line.split('|')[1:-1]]
        for line in tables[0].splitlines()
    ]
    assert ['predicted', '2.00', '4', '25.0', '100.0'] in rows
    assert ['selected', '0.50', '1', '100.0', '100.0'] in rows
    assert ['selected a', '0.50', '1', '100.0', '100.0'] in rows
    assert ['selected b', '0.00', '0', '-', '-'] in rows

    (log,) = tmp_path.glob('*/vis_data/scalars.json')
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    scalars = [line for line in lines if 'pseudo/predicted_recall' in line]
    assert scalars[0]['pseudo/selected_precision'] == 1
    assert scalars[0]['step'] == 1


def test_parts__rows_and_scalars_of_their_own(tmp_path):
    """The true box is certain, a wrong one is uncertain, none is doubtful."""
    stages = dict(
        selected=found(BOX, [50.0, 50.0, 60.0, 60.0]),
        certain=found(BOX),
        uncertain=found([50.0, 50.0, 60.0, 60.0]),
        doubtful=found(),
    )
    steps = [[Record('data/0.jpg', stages)]]
    (table,) = train(tmp_path, Labeller(steps), max_epochs=1)
    (entry,) = read(tmp_path)
    assert [*entry['stages']] == [*stages]
    rows = [
        [cell.strip() for cell in line.split('|')[1:-1]]
        for line in table.splitlines()
    ]
    names = [row[0] for row in rows if row]
    classes = ['selected a', 'selected b']  # of all labels
    assert names == ['pseudo-labels', *stages, *classes]
    assert ['certain', '1.00', '1', '100.0', '100.0'] in rows
    assert ['uncertain', '1.00', '1', '0.0', '0.0'] in rows
    assert ['doubtful', '0.00', '0', '-', '0.0'] in rows
    assert ['selected a', '2.00', '2', '50.0', '100.0'] in rows
    (log,) = tmp_path.glob('*/vis_data/scalars.json')
    (scalars,) = map(json.loads, log.read_text().splitlines()[-1:])
    assert scalars['pseudo/certain_precision'] == 1
    assert scalars['pseudo/uncertain_precision'] == 0
    assert scalars['pseudo/doubtful_boxes_per_image'] == 0


def test_resumed_run__goes_on_and_replaces(tmp_path):
    good, bad = [record('data/0.jpg')], [record('data/1.jpg')]
    train(tmp_path, Labeller([good] * 6), max_epochs=3)
    assert [entry['epoch'] for entry in read(tmp_path)] == [1, 2, 3]

    # the last checkpoint of an interrupted run may be older than the file
    (tmp_path / 'last_checkpoint').write_text(str(tmp_path / 'epoch_1.pth'))
    train(tmp_path, Labeller([bad] * 2), max_epochs=2, resume=True)
    one, two = read(tmp_path)
    assert (one['epoch'], two['epoch']) == (1, 2)
    assert one['stages']['predicted']['precision'] == 0.5
    assert two['stages']['predicted']['precision'] == 0

    # a new run in the same folder starts a new list, even before its first
    # pseudo-label
    train(tmp_path, Labeller(), max_epochs=1)
    assert read(tmp_path) == []


def test_no_pseudo_labels__no_file_and_no_table(tmp_path):
    assert train(tmp_path, Labeller()) == []
    assert not (tmp_path / 'pseudo_labels.json').exists()


def test_out_file__below_the_work_dir(tmp_path):
    model = Labeller([[record('data/0.jpg')]])
    train(tmp_path, model, max_epochs=1, out_file='audit/x.json')
    assert len(read(tmp_path, 'audit/x.json')) == 1


def test_unknown_path__is_named(tmp_path):
    with pytest.raises(InputError, match=r'data/7\.jpg has pseudo-labels'):
        train(tmp_path, Labeller([[record('data/7.jpg')]]))


def test_supervised_model__is_refused(tmp_path):
    model = Labeller()
    del model.pseudo_records
    with pytest.raises(InputError, match='Labeller has no pseudo_records'):
        train(tmp_path, model)


def test_data_set_without_annotations__is_refused(tmp_path):
    with pytest.raises(InputError, match='Hidden has no annotations'):
        train(tmp_path, Labeller(), boxes=False)


def test_foreign_file__is_refused_and_kept(tmp_path):
    for text in ('[{"epoch": 1', '{"epoch": 1}', '[1]', '3'):
        (tmp_path / 'pseudo_labels.json').write_text(text)
        with pytest.raises(InputError, match='is no list of pseudo-label'):
            train(tmp_path, Labeller())
        assert (tmp_path / 'pseudo_labels.json').read_text() == text
