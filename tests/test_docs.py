"""The Python blocks of the pages for users do what the pages say.

Each of README.md and docs/data.md, and what docs/semi_supervised.md and
docs/clip.md say of a user's own images, is cut out of its page, put where the
page puts it and run on a data set of four small images: a training step or
two, one evaluation.
"""

import ast
import json
import re
import shutil
from pathlib import Path

import mmdet
import mmyolo
import pytest
from dataset_files import session_cache, write_image, write_xml  # noqa: F401
from mmdet.datasets import CocoDataset
from mmengine.config import Config
from mmengine.registry import DATASETS, DefaultScope
from mmengine.runner import Runner

from dsym.clip.adapted import load_scorer
from dsym.datasets.split_lists import SPLITS_ROOT, read_list

REPO = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r'^```python\n(.*?)^```', re.MULTILINE | re.DOTALL)
PAGES = 'README.md', 'docs/data.md', 'docs/semi_supervised.md', 'docs/clip.md'
README, DATA, SEMI, CLIP = (
    BLOCK.findall((REPO / page).read_text()) for page in PAGES
)
SIZE = (48, 40)
BOXES = [(4, 4, 24, 34), (10, 10, 40, 30)]  # of the first class, the second
STEMS = {'train': ('a', 'b'), 'val': ('c', 'd')}

MY_YOLOV8 = """
_base_ = {base!r}
metainfo = dict(classes=('person', 'bicycle'))
train_dataloader = dict(dataset=dict(metainfo=metainfo))
val_dataloader = dict(dataset=dict(metainfo=metainfo))
test_dataloader = val_dataloader
model = dict(
    bbox_head=dict(head_module=dict(num_classes=2)),
    train_cfg=dict(assigner=dict(num_classes=2)))
"""
INHERIT = """
_base_ = 'path/to/dsym/configs/yolov9/{config}'
{metainfo}
{dataset}
train_dataloader = dict(dataset=dict(
    _delete_=True, pipeline=_base_.train_pipeline, **dataset))
val_dataloader = dict(dataset=dict(
    _delete_=True, pipeline=_base_.test_pipeline, test_mode=True, **dataset))
test_dataloader = val_dataloader
model = dict(bbox_head=dict(head_module=dict(num_classes=2)))
"""


def write_coco(path, names, categories):
    """Write annotations: both boxes in each image, categories 1, 2, ..."""
    path.parent.mkdir(parents=True, exist_ok=True)
    images = [
        {'id': i, 'file_name': name, 'width': SIZE[0], 'height': SIZE[1]}
        for i, name in enumerate(names)
    ]
    annotations = [
        {
            'id': len(BOXES) * i + label + 1,
            'image_id': i,
            'category_id': label + 1,
            'bbox': [x1, y1, x2 - x1, y2 - y1],
            'area': (x2 - x1) * (y2 - y1),
            'iscrowd': 0,
        }
        for i in range(len(images))
        for label, (x1, y1, x2, y2) in enumerate(BOXES)
    ]
    content = {
        'images': images,
        'annotations': annotations,
        'categories': [
            {'id': i, 'name': name} for i, name in enumerate(categories, 1)
        ],
    }
    path.write_text(json.dumps(content))


@pytest.fixture(scope='module')
def project(tmp_path_factory):
    """A folder with our configs and the pages' data in all formats.

    ``data/mine`` holds the classes scratch and dent as VOC, COCO and YOLO,
    ``data/coco`` two of COCO's 80 classes.
    """
    root = tmp_path_factory.mktemp('project')
    shutil.copytree(REPO / 'configs', root / 'path/to/dsym/configs')
    mine, coco = root / 'data/mine', root / 'data/coco'
    for part, stems in STEMS.items():
        names = [f'{stem}.jpg' for stem in stems]
        for stem in stems:
            image = mine / 'images' / part / f'{stem}.jpg'
            write_image(image, *SIZE, seed=ord(stem))
            copy = coco / f'{part}2017' / image.name
            copy.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(image, copy)
            new = mine / 'images/new' / f'{part}_{stem}.jpg'
            new.parent.mkdir(exist_ok=True)
            shutil.copy(image, new)
            write_xml(
                mine / 'xml' / f'{stem}.xml',
                zip(('scratch', 'dent'), BOXES),
                SIZE,
            )
            label = mine / 'labels' / part / f'{stem}.txt'
            label.parent.mkdir(parents=True, exist_ok=True)
            # The same boxes as centres and sizes, as fractions of 48 x 40.
            label.write_text(
                f'0 {14 / 48} {19 / 40} {20 / 48} {30 / 40}\n'
                f'1 {25 / 48} {20 / 40} {30 / 48} {20 / 40}\n'
            )
        (mine / f'{part}.txt').write_text('\n'.join(stems))
        write_coco(
            mine / f'{part}.json',
            [f'{part}/{name}' for name in names],
            ('scratch', 'dent'),
        )
        write_coco(
            coco / f'annotations/instances_{part}2017.json',
            names,
            CocoDataset.METAINFO['classes'],
        )
    return root


def shrink(node):
    """Make images 96 px wide; leave out what needs albumentations."""
    if isinstance(node, dict):
        for key, value in node.items():
            if key in ('scale', 'img_scale'):
                node[key] = (96, 96)
            elif key == 'border':
                node[key] = (-48, -48)
            else:
                shrink(value)
    elif isinstance(node, list):
        node[:] = [
            item
            for item in node
            if not isinstance(item, dict) or item.get('type') != 'mmdet.Albu'
        ]
        for item in node:
            shrink(item)


@pytest.fixture
def train(project, tmp_path, monkeypatch, request):
    """Run a config for one step and one evaluation; returns the runner."""
    monkeypatch.chdir(project)  # the pages' paths are relative

    def run(path, text, num_iters=1):  # of two images
        path = project / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        config = Config.fromfile(path)
        if config.model.type != 'CLIPGrader':  # has one size of its own
            shrink(config._cfg_dict)
        loaders = [config[f'{x}_dataloader'] for x in ('train', 'val', 'test')]
        if 'unlabeled_dataloader' in config.train_cfg:
            loaders.append(config.train_cfg.unlabeled_dataloader)
        for loader in loaders:
            loader.update(
                num_workers=0,
                persistent_workers=False,
                pin_memory=False,
                batch_size=2,
            )
        config.train_cfg.max_epochs = 1
        # An untrained detector's scores are below any threshold.
        detector = config.model.get('detector', config.model)
        if 'test_cfg' in detector:
            detector.test_cfg.score_thr = 0
        config.work_dir = str(tmp_path)
        config.experiment_name = request.node.name
        # What the runner sets is undone for the tests that follow.
        with DefaultScope.overwrite_default_scope('mmengine'):
            runner = Runner.from_cfg(config)
            runner.train()
        assert runner.iter == num_iters
        assert len(runner.val_dataloader.dataset) == 2
        return runner

    return run


def scalar(runner, name):
    return runner.message_hub.get_scalar(name).current()


def num_classes(runner):
    head = runner.model.bbox_head
    return head.head_module.num_classes, head.aux_head_module.num_classes


def test_blocks__are_the_ones_tested_here():
    """A new block in a page needs a test: count it then."""
    assert (len(README), len(DATA)) == (3, 4)


def test_readme__own_data_beside_a_config(train, tmp_path):
    runner = train('path/to/dsym/configs/yolov9/mine.py', README[0])
    assert num_classes(runner) == (2, 2)
    assert runner.val_dataloader.dataset.metainfo['classes'] == (
        'scratch',
        'dent',
    )
    assert 0 <= scalar(runner, 'val/defect/mAP_50') <= 1
    assert 0 < scalar(runner, 'train/loss') < 1e4
    (log,) = tmp_path.glob('*/*.log')
    assert 'class-dependent ones have another shape' in log.read_text()


def test_readme__in_a_yolov8_config_of_mmyolo(train, project):
    base = Path(mmyolo.__file__).parent / '.mim/configs/yolov8'
    base /= 'yolov8_s_syncbn_fast_8xb16-500e_coco.py'
    folder = project / 'mmyolo_project'
    folder.mkdir()
    (folder / 'my_yolov8_config.py').write_text(
        MY_YOLOV8.format(base=base.as_posix())
    )
    runner = train('mmyolo_project/my_config.py', README[1])
    assert type(runner.model.backbone).__name__ == 'YOLOv9Backbone'
    assert num_classes(runner) == (2, 2)
    assert type(runner.train_dataloader.dataset).__module__.startswith(
        'mmyolo.'
    )
    assert 0 <= scalar(runner, 'val/coco/bbox_mAP_50') <= 1
    assert 0 < scalar(runner, 'train/loss') < 1e4


def test_readme__in_mmdet(train, project):
    theirs = Path(mmdet.__file__).parent / '.mim/configs/_base_'
    bases = project / 'mmdet_project/_base_'
    for name in (
        'datasets/coco_detection.py',
        'schedules/schedule_1x.py',
        'default_runtime.py',
    ):
        (bases / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(theirs / name, bases / name)
    (bases / 'models').mkdir()
    for path in (REPO / 'configs/_base_/models').glob('yolov9_*.py'):
        shutil.copy(path, bases / 'models')
    runner = train('mmdet_project/mine/my_config.py', README[2])
    # The published size s with its auxiliary branch, for COCO.
    assert sum(p.numel() for p in runner.model.parameters()) == 9804480
    assert type(runner.train_dataloader.dataset) is CocoDataset
    assert 0 <= scalar(runner, 'val/coco/bbox_mAP_50') <= 1
    assert 0 < scalar(runner, 'train/loss') < 1e4


def test_semi_supervised__own_images(train, tmp_path):
    """Four unlabelled images; the package's detector as the supervised run."""
    (text,) = (x for x in SEMI if 'data/mine' in x)
    (start,) = re.findall(r"load_from = '(.*)'", text)
    text = text.replace(start, 'dsym://yolov9-t_neu-det-labeled20')
    runner = train('path/to/dsym/configs/dsym/mine.py', text, num_iters=2)
    assert len(runner.train_loop.unlabeled.dataset) == 4
    head = runner.model.student.bbox_head.head_module
    assert head.num_classes == 2
    assert 0 <= scalar(runner, 'val/teacher/defect/mAP_50') <= 1
    assert 0 < scalar(runner, 'train/loss') < 1e4
    (log,) = tmp_path.glob('*/*.log')
    assert 'class-dependent ones have another shape' in log.read_text()


def test_clip__own_classes(train, tmp_path):
    (text,) = (x for x in CLIP if 'data/mine' in x)
    runner = train('path/to/dsym/configs/clip/mine.py', text)
    assert 0 < scalar(runner, 'train/loss') < 1e4
    # what CLIPFilterHook(clip=...) loads
    scorer = load_scorer(str(tmp_path / 'clip'), ('scratch', 'dent'))
    assert scorer.prompts.classes == ('scratch', 'dent')


def formats():
    """The statements of docs/data.md's block of formats.

    Returns:
        tuple[str, dict[str, str]]: The one that sets ``metainfo``, and those
        that set ``dataset`` by the type of the data set.
    """
    metainfo, *datasets = (
        ast.get_source_segment(DATA[1], node)
        for node in ast.parse(DATA[1]).body
    )
    return metainfo, {
        re.search(r"type='(\w+)'", source).group(1): source
        for source in datasets
    }


@pytest.mark.parametrize(
    'name', ['DefectVOCDataset', 'VerifiedCocoDataset', 'YOLOTxtDataset']
)
def test_data__formats(train, name):
    metainfo, datasets = formats()
    assert len(datasets) == 3
    text = INHERIT.format(
        config='yolov9-t_1xb16-200e_neu-det-labeled20.py',
        metainfo=metainfo,
        dataset=datasets[name],
    )
    runner = train(f'{name}.py', text)
    dataset = runner.val_dataloader.dataset
    assert type(dataset).__name__ == name
    for instances in (dataset.get_data_info(i)['instances'] for i in (0, 1)):
        assert [i['bbox_label'] for i in instances] == [0, 1]
        assert [i['bbox'] for i in instances] == [
            pytest.approx(box) for box in BOXES
        ]
    assert 0 <= scalar(runner, 'val/defect/mAP_50') <= 1


def test_data__inherited_config(train):
    runner = train('mine.py', DATA[2])
    assert num_classes(runner) == (2, 2)
    assert 0 <= scalar(runner, 'val/defect/mAP_50') <= 1


def test_data__neu_det_and_images_without_annotations(project, monkeypatch):
    root = project / 'data/NEU-DET'
    write_image(root / 'IMAGES/image.jpg', 20, 20)
    content = (root / 'IMAGES/image.jpg').read_bytes()
    (root / 'IMAGES/image.jpg').unlink()
    for split in ('labeled_20', 'unlabeled_80'):
        for entry in read_list(str(SPLITS_ROOT / f'{split}.txt')):
            stem = Path(entry).stem
            (root / 'IMAGES' / f'{stem}.jpg').write_bytes(content)
            if split == 'labeled_20':
                write_xml(
                    root / 'ANNOTATIONS' / f'{stem}.xml',
                    [(stem.rpartition('_')[0], (1, 1, 9, 9))],
                    (20, 20),
                )
    write_image(project / 'data/new/monday/e.jpg', *SIZE)
    monkeypatch.chdir(project)
    names = {}
    exec(DATA[0], names)
    exec(formats()[0], names)
    without = [
        eval(
            compile(ast.Expression(node.value), 'docs/data.md', 'eval'), names
        )
        for node in ast.parse(DATA[3]).body
    ]
    datasets = [
        DATASETS.build(config)
        for config in (names['train_dataloader']['dataset'], *without)
    ]
    assert [len(dataset) for dataset in datasets] == [324, 1296, 1]
    assert len(datasets[0].get_data_info(0)['instances']) == 1
    assert datasets[1].get_data_info(0)['instances'] == []
    assert datasets[2].get_data_info(0)['instances'] == []
