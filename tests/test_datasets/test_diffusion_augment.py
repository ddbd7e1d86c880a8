"""DiffusionAugment: real and synthetic images behind one pipeline."""

import json
from collections import Counter
from pathlib import Path

import mmcv
import numpy as np
import pytest
from dataset_files import write_image, write_xml
from mmengine.config import Config
from mmengine.dataset import ConcatDataset
from mmengine.hooks import Hook
from mmengine.registry import DATASETS, TRANSFORMS, init_default_scope
from mmengine.runner import Runner
from tiny_diffusion import CLASSES, coco_steel
from tiny_run import write_config
from tiny_semi import semi_config, train

from dsym.datasets import CLASSES as NEU_CLASSES
from dsym.datasets import DatasetError, DiffusionAugment
from dsym.datasets.real_images import real_datasets
from dsym.engine.close_mosaic_hook import innermost
from dsym.errors import InputError

CONFIGS = Path(__file__).resolve().parents[2] / 'configs'
COPIES = dict(type='CopyPastePainter', min_side=24)
LOAD = [
    dict(type='LoadImageFromFile'),
    dict(type='mmdet.LoadAnnotations', with_bbox=True),
]


def wrapped(dataset, folder, **options):
    """Config of a data set with copies in it."""
    return dict(
        type='DiffusionAugment',
        dataset=dataset,
        painter=COPIES,
        cache_dir=str(folder / 'synthetic'),
        num_workers=0,
        **options,
    )


def build(folder, pipeline=(), **options):
    config = coco_steel(folder / 'steel', pipeline=[*pipeline])
    return DATASETS.build(wrapped(config, folder, **options))


def names(dataset):
    """Folder and name of each image."""
    paths = [
        Path(dataset.get_data_info(i)['img_path']) for i in range(len(dataset))
    ]
    return [(x.parent.name, x.name) for x in paths]


@pytest.mark.parametrize('ratio, count', [(1, 4), (0.5, 2), (2.25, 9)])
def test_images__real_ones_first_then_synthetic(tmp_path, ratio, count):
    dataset = build(tmp_path, ratio=ratio)
    assert len(dataset) == 4 + count
    assert names(dataset) == [('steel', f'{i}.png') for i in range(4)] + [
        ('images', f'{i:06d}.png') for i in range(count)
    ]
    assert dataset.ann_file.name == f'annotations_{count}.json'
    assert dataset.metainfo['classes'] == CLASSES


def test_boxes__are_those_of_the_file(tmp_path):
    dataset = build(tmp_path)
    coco = json.loads(dataset.ann_file.read_text())
    for i in range(4):
        expected = [
            (x['category_id'] - 1, x['bbox'])
            for x in coco['annotations']
            if x['image_id'] == i
        ]
        found = dataset.get_data_info(4 + i)['instances']
        assert [x['bbox_label'] for x in found] == [x for x, _ in expected]
        for x, (_, (left, top, width, height)) in zip(found, expected):
            corners = [left, top, left + width, top + height]
            assert x['bbox'] == pytest.approx(corners)


def test_ratio_0__is_the_data_set_alone(tmp_path):
    dataset = build(tmp_path, ratio=0)
    assert (len(dataset), dataset.ann_file) == (4, None)
    assert not (tmp_path / 'synthetic').exists()


@pytest.mark.parametrize(
    'options, part',
    [
        (dict(ratio=-1), 'ratio=-1'),
        (dict(layout=dict(spreads=2)), 'spreads'),
    ],
)
def test_settings__that_do_not_fit_are_refused(tmp_path, options, part):
    with pytest.raises(InputError, match=part):
        build(tmp_path, **options)


class NoteImages:
    """Notes what a mosaic loads, and what data set it is given."""

    def __init__(self, paths, lengths):
        self.paths, self.lengths = paths, lengths

    def __call__(self, results):
        self.paths.append(Path(results['img_path']).name)
        if 'dataset' in results:
            self.lengths.add(len(results['dataset']))
        return results


@pytest.fixture
def _registered():
    TRANSFORMS.register_module(module=NoteImages)
    yield
    TRANSFORMS.module_dict.pop('NoteImages')


@pytest.mark.usefixtures('_registered')
def test_mosaic__mixes_real_and_synthetic_images(tmp_path):
    paths, lengths = [], set()
    note = dict(type='NoteImages', paths=paths, lengths=lengths)
    mosaic = dict(
        type='mmyolo.Mosaic', img_scale=(64, 64), pre_transform=[note, *LOAD]
    )
    dataset = build(tmp_path, [note, *LOAD, mosaic], ratio=1)
    np.random.seed(0)
    for _ in range(30):
        data = dataset[0]
        assert data['img'].shape == (128, 128, 3)
    assert lengths == {8}
    # the first of each is the image asked for, three are drawn of all
    assert paths[::4] == ['0.png'] * 30
    drawn = {*paths} - {'0.png'}
    assert drawn == {f'{i}.png' for i in range(1, 4)} | {
        f'{i:06d}.png' for i in range(4)
    }


class KeepName:
    """Leaves nothing of real images, as FilterAnnotations may."""

    def __init__(self, kept):
        self.kept = kept

    def __call__(self, results):
        return results if self.kept in results['img_path'] else None


def test_nothing_left__draws_another(tmp_path):
    dataset = build(tmp_path)
    dataset.pipeline = KeepName('000002.png')
    np.random.seed(0)
    for i in range(4):
        assert Path(dataset[i]['img_path']).name == '000002.png'
    dataset.pipeline = KeepName('no such image')
    with pytest.raises(DatasetError, match='leaves nothing'):
        dataset[0]


def test_switched_pipeline__is_of_all_images(tmp_path):
    dataset = build(tmp_path, LOAD)
    assert [*innermost(dataset)] == [dataset]
    assert 'img' in dataset[0] and 'img' in dataset[7]
    dataset.pipeline = lambda results: results['sample_idx']
    assert [dataset[i] for i in range(8)] == [*range(8)]


def test_neu_det__is_wrapped(tmp_path):
    root = tmp_path / 'neu'
    for i, name in enumerate(('crazing', 'patches', 'scratches')):
        write_image(root / f'IMAGES/{name}_1.jpg', 60, 50, seed=i)
        box = (3 + i, 4, 30 + i, 28)
        write_xml(root / f'ANNOTATIONS/{name}_1.xml', [(name, box)], (60, 50))
    neu = dict(type='NEUDETDataset', data_root=str(root), split=None)
    config = wrapped(neu, tmp_path, ratio=2)
    config['painter'] = dict(COPIES, channels=3)  # these are in colour
    dataset = DATASETS.build(config)
    assert len(dataset) == 3 + 6
    assert dataset.metainfo['classes'] == NEU_CLASSES
    shown = {
        x['bbox_label']
        for i in range(3, 9)
        for x in dataset.get_data_info(i)['instances']
    }
    real = {NEU_CLASSES.index(x) for x in ('crazing', 'patches', 'scratches')}
    assert shown and shown <= real


class Note(Hook):
    """How many images each epoch has, by which transforms."""

    def __init__(self):
        self.counts, self.transforms = Counter(), {}

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        dataset = runner.train_dataloader.dataset
        self.transforms[runner.epoch] = [
            type(x).__name__ for x in dataset.pipeline.transforms
        ]
        self.counts[runner.epoch] += len(data_batch['inputs'])


def test_loop__trains_and_closes_the_mosaic(tmp_path):
    """SteelSynth and half as many copies in mmengine's own loop."""
    config = Config.fromfile(write_config(tmp_path, CONFIGS))
    init_default_scope(config.default_scope)
    steel = config.train_dataloader.dataset
    steel.num_images = 4
    plain = [*steel.pipeline]
    plain[-1].meta_keys = ('img_id', 'img_path')
    mosaic = dict(
        type='mmyolo.Mosaic', img_scale=(32, 32), pre_transform=plain[:2]
    )
    steel.pipeline = [*plain[:2], mosaic, plain[-1]]
    config.train_dataloader.dataset = wrapped(steel, tmp_path, ratio=0.5)
    for part in ('val', 'test'):
        for key in ('dataloader', 'evaluator', 'cfg'):
            config.pop(f'{part}_{key}')
    config.train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=2)
    config.default_hooks.checkpoint = None
    config.work_dir = str(tmp_path / 'work_dir')
    config.custom_hooks = [
        dict(type='CloseMosaicHook', num_last_epochs=1, switch_pipeline=plain)
    ]
    runner = Runner.from_cfg(config)
    note = Note()
    runner.register_hook(note)
    runner.train()
    dataset = runner.train_dataloader.dataset
    assert isinstance(dataset, DiffusionAugment)
    assert note.counts == {0: 4 + 2, 1: 4 + 2}
    for epoch in (0, 1):
        assert ('Mosaic' in note.transforms[epoch]) == (epoch == 0)


def test_mean_teacher__takes_it_as_the_labelled_set(tmp_path):
    config = semi_config(tmp_path, burn_in=1, max_epochs=2)
    loader = config.train_dataloader
    real = DATASETS.build(loader.dataset)
    loader.dataset = wrapped(loader.dataset, tmp_path, ratio=1 / 3)
    config.model.semi_train_cfg.selector = dict(type='ClassThresholds')
    runner, steps = train(config)
    # 6 + 2 labelled images in phase 1; then an epoch of 8 unlabelled ones
    assert [x['epoch'] for x in steps] == [0] * 4 + [1] * 4
    seen = [name for x in steps[:4] for name in x['images']['sup']]
    folder = next((tmp_path / 'synthetic').glob('*/annotations_2.json'))
    made = [x['file_name'] for x in json.loads(folder.read_text())['images']]
    # SteelSynth calls its images alike
    assert sorted(seen) == sorted([f'{i:06d}.png' for i in range(6)] + made)
    # pseudo-labels are to be as many as the boxes of real images
    boxes = Counter(
        x['bbox_label']
        for i in range(6)
        for x in real.get_data_info(i)['instances']
    )
    told = runner.model.selector.boxes_per_image
    assert told == [boxes[label] / 6 for label in range(6)]
    data = runner.train_loop.labeled[0].dataset
    assert [len(x) for x in real_datasets(data)] == [6]  # CLIP's calibration


def test_wrapper__is_refused(tmp_path):
    both = ConcatDataset([coco_steel(tmp_path)])
    with pytest.raises(InputError, match=r'ConcatDataset.* is a wrapper'):
        DiffusionAugment(both, painter=COPIES, cache_dir=str(tmp_path))


def test_masks__are_not_painted(tmp_path):
    load = dict(type='LoadAnnotations', with_bbox=True, with_mask=True)
    config = coco_steel(tmp_path / 'steel', pipeline=[load])
    with pytest.raises(InputError, match='set with_mask=False'):
        DATASETS.build(wrapped(config, tmp_path))


def test_colour__is_not_mixed_with_grey_paintings(tmp_path):
    config = coco_steel(tmp_path / 'steel', pipeline=[])
    for file in (tmp_path / 'steel').glob('*.png'):
        image = mmcv.imread(str(file))
        image[..., 0] //= 2  # of grey steel: 40 and more between channels
        mmcv.imwrite(image, str(file))
    with pytest.raises(InputError, match=r'png is in colour: give CopyPaste'):
        DATASETS.build(wrapped(config, tmp_path))
    dataset = DATASETS.build(
        dict(wrapped(config, tmp_path), painter=dict(COPIES, channels=3))
    )
    painted = mmcv.imread(dataset.get_data_info(4)['img_path']).astype(int)
    assert (painted[..., 2] - painted[..., 0]).mean() > 40


def test_stock_data_set__boxes_beyond_the_border(tmp_path):
    """mmdet's own give them as they are written; they are cut off."""
    config = coco_steel(tmp_path / 'steel')
    file = Path(config['ann_file'])
    coco = json.loads(file.read_text())
    for x in coco['annotations']:
        x['bbox'] = [-3, -2, x['bbox'][2] + 3, x['bbox'][3] + 2]
    file.write_text(json.dumps(coco))
    stock = dict(
        type='mmdet.CocoDataset',
        ann_file=config['ann_file'],
        data_prefix=config['data_prefix'],
        metainfo=config['metainfo'],
        pipeline=[],
    )
    dataset = DATASETS.build(
        wrapped(stock, tmp_path, layout=dict(background='replace'))
    )
    assert dataset.real_dataset.get_data_info(0)['instances'][0]['bbox'][0] < 0
    synthetic = json.loads(dataset.ann_file.read_text())['annotations']
    assert [x for x in synthetic if x['synthetic']]
    assert min(min(x['bbox'][:2]) for x in synthetic) == 0


def test_classes__for_samplers_that_balance_them(tmp_path):
    dataset = build(tmp_path, ratio=0.5)
    found = [dataset.get_cat_ids(i) for i in range(len(dataset))]
    assert found == [
        [x['bbox_label'] for x in dataset.get_data_info(i)['instances']]
        for i in range(len(dataset))
    ]
    inner = wrapped(coco_steel(tmp_path / 'steel'), tmp_path, ratio=0.5)
    balanced = DATASETS.build(
        dict(type='ClassBalancedDataset', dataset=inner, oversample_thr=1.0)
    )
    assert len(balanced) > len(dataset)
    dataset.close_synthetic()
    assert dataset.get_cat_ids(4) == found[0]
