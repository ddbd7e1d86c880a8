"""configs/_base_/datasets/semi_224.py: views that fit together."""

import copy
import random
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from mmcv.transforms import Compose
from mmdet.structures.bbox import HorizontalBoxes, bbox_project
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import TRANSFORMS, init_default_scope

ROOT = Path(__file__).parents[3]
CONFIG = Config.fromfile(ROOT / 'configs/_base_/datasets/semi_224.py')
SIZES = [(200, 120), (90, 210), (200, 200)]  # (height, width)
VIEWS = ('unsup_teacher', 'unsup_student')
META = {
    'img_id',
    'img_path',
    'ori_shape',
    'img_shape',
    'scale_factor',
    'pad_param',
    'flip',
    'flip_direction',
    'homography_matrix',
}


class SeededIndex(int):
    seed = 0


class Dataset:
    """What mosaics ask for; it must not be copied."""

    def __init__(self, folder, size=(200, 120)):
        self.path = str(folder / 'a.png')
        noise = np.random.default_rng(0).integers(0, 256, (*size, 3), np.uint8)
        cv2.imwrite(self.path, noise)

    def __len__(self):
        return 3

    def __deepcopy__(self, memo):
        raise AssertionError('a copy of a data set for one sample')

    def get_data_info(self, index):
        box = dict(bbox=[20, 30, 90, 110], bbox_label=1, ignore_flag=0)
        return dict(
            img_id=0, img_path=self.path, sample_idx=index, instances=[box]
        )

    def load(self, pipeline, index=0):
        info = dict(self.get_data_info(index), dataset=self)
        return Compose(pipeline)(info)


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmyolo')
    random.seed(0)
    np.random.seed(0)


def unclipped(pipeline):
    """The pipeline with boxes that may leave the view, and stay in it."""
    pipeline = copy.deepcopy(pipeline)
    for step in pipeline:
        if step.type == 'TrackedLetterResize':
            step.clip_object_border = False
        if step.type == 'TrackedRandomAffine':
            step.update(bbox_clip_border=False, min_area_ratio=0.0)
        if step.type == 'mmdet.RandomErasing':
            step.bbox_erased_thr = 2.0
    return Compose(pipeline)


@pytest.mark.parametrize('size', SIZES, ids=str)
@pytest.mark.parametrize('name', ['weak_pipeline', 'strong_pipeline'])
def test_boxes_go_where_the_matrix_says(name, size):
    pipeline = unclipped(CONFIG[name])
    height, width = size
    boxes = np.array(
        [
            [0, 0, width, height],
            [width * 0.2, height * 0.1, width * 0.7, height * 0.45],
        ],
        np.float32,
    )
    flips = set()
    for _ in range(20):
        packed = pipeline(
            dict(
                img=np.full((*size, 3), 90, np.uint8),
                img_shape=size,
                ori_shape=size,
                img_id=0,
                img_path='',
                gt_bboxes=HorizontalBoxes(boxes),
                gt_bboxes_labels=np.zeros(2, np.int64),
                gt_ignore_flags=np.zeros(2, bool),
            )
        )
        view = packed['data_samples']
        assert set(view.metainfo_keys()) == META
        assert packed['inputs'].shape == (3, 224, 224)
        expected = bbox_project(boxes, view.homography_matrix)
        found = view.gt_instances.bboxes.numpy()
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-3)
        flips.add(view.flip_direction)
    assert len(flips) > 2


@pytest.mark.parametrize('size', SIZES, ids=str)
def test_a_dot_of_the_weak_view_is_found_in_the_strong_one(size):
    """As a pseudo-box travels: teacher to image to student."""
    height, width = size
    column, row = int(width * 0.55), int(height * 0.4)
    image = np.full((*size, 3), 60, np.uint8)
    image[row - 2 : row + 3, column - 2 : column + 3] = 255
    steps = [s for s in CONFIG.strong_pipeline if 'Erasing' not in s.type]
    for _ in range(10):
        views = []
        for pipeline in (CONFIG.weak_pipeline, steps):
            results = dict(img=image.copy(), img_shape=size, ori_shape=size)
            load = dict(type='mmdet.LoadEmptyAnnotations')
            packed = Compose([load, *pipeline])(results)
            light = packed['inputs'][0].double() - 170  # far above noise
            light = light.clamp(min=0)
            rows, columns = torch.meshgrid(
                torch.arange(224) + 0.5, torch.arange(224) + 0.5, indexing='ij'
            )
            x, y = ((light * c).sum() / light.sum() for c in (columns, rows))
            matrix = torch.from_numpy(packed['data_samples'].homography_matrix)
            views.append((torch.stack([x, y, torch.ones_like(x)]), matrix))
        (weak, to_weak), (strong, to_strong) = views
        expected = to_strong.double() @ to_weak.double().inverse() @ weak
        assert (expected - strong).abs().max() <= 1


def test_unlabeled_pipeline(tmp_path):
    packed = Dataset(tmp_path).load(CONFIG.unlabeled_pipeline)
    assert list(packed['inputs']) == CONFIG.branch_field
    assert packed['inputs']['sup'] is packed['data_samples']['sup'] is None
    for view in VIEWS:
        sample = packed['data_samples'][view]
        assert set(sample.metainfo_keys()) == META
        assert sample.ori_shape == (200, 120)
        assert len(sample.gt_instances) == 0
        assert packed['inputs'][view].dtype == torch.uint8


def test_the_teacher_sees_what_a_test_sees(tmp_path):
    dataset = Dataset(tmp_path)
    tested = dataset.load(CONFIG.test_pipeline)['inputs']
    dims = dict(horizontal=[2], vertical=[1], diagonal=[1, 2])
    for _ in range(8):
        packed = dataset.load(CONFIG.unlabeled_pipeline)
        direction = packed['data_samples']['unsup_teacher'].flip_direction
        weak = packed['inputs']['unsup_teacher']
        assert torch.equal(weak.flip(dims.get(direction, [])), tested)


@pytest.mark.parametrize(
    'name', ['labeled_pipeline', 'labeled_pipeline_stage2']
)
def test_labeled_pipeline__one_batch_with_unlabeled(name, tmp_path):
    dataset = Dataset(tmp_path)
    labeled = dataset.load(CONFIG[name])
    sample = labeled['data_samples']['sup']
    assert sample.img_shape[:2] == (224, 224)
    assert len(sample.gt_instances) > 0
    # a mosaic has none, and that of the flip alone would be wrong
    assert 'homography_matrix' not in sample
    batch = pseudo_collate([labeled, dataset.load(CONFIG.unlabeled_pipeline)])
    present = {
        branch: [image is not None for image in images]
        for branch, images in batch['inputs'].items()
    }
    assert present == dict(
        sup=[True, False],
        unsup_teacher=[False, True],
        unsup_student=[False, True],
    )


@pytest.mark.parametrize(
    'name',
    ['labeled_pipeline', 'labeled_pipeline_stage2', 'unlabeled_pipeline'],
)
def test_the_seed_decides_the_views(name, tmp_path):
    dataset, inputs = Dataset(tmp_path), []
    for seed in (5, 5, 6):
        index = SeededIndex(0)
        index.seed = seed
        views = dataset.load(CONFIG[name], index)['inputs'].values()
        inputs.append(torch.stack([v for v in views if v is not None]))
        np.random.rand()
    assert torch.equal(inputs[0], inputs[1])
    assert not torch.equal(inputs[0], inputs[2])


def test_labeled_steps_are_the_supervised_ones():
    for stage in ('', '_stage2'):
        ours = CONFIG[f'labeled_pipeline{stage}']
        supervised = CONFIG[f'train_pipeline{stage}']
        assert ours[0].type == 'SeedAugmentations'
        assert ours[1:-2] == supervised[:-1]
        assert ours[-1].sup == supervised[-1:]


def test_why__multi_branch_copies_the_data_set(tmp_path):
    """The step that DropDataset takes away from mmdet's own pipeline."""
    steps = [s for s in CONFIG.unlabeled_pipeline if s.type != 'DropDataset']
    with pytest.raises(AssertionError, match='a copy of a data set'):
        Dataset(tmp_path).load(steps)


def test_why__default_meta_keys_lack_the_matrix():
    pack = TRANSFORMS.build(dict(type='mmdet.PackDetInputs'))
    assert 'homography_matrix' not in pack.meta_keys


def test_a_hairline_stays_above_the_noise():
    """Each photometric step at its worst, the strongest noise included.

    A line 1 px wide and 25 grey values above its surface still exceeds the
    noise: 25 x 0.6 x 0.56 and a little for gamma, against 4. Along its 10 px
    it does so by more than six standard deviations.
    """
    image = np.full((200, 200, 3), 114, np.uint8)
    image[:, 100] += 25
    worst = dict(RandomGamma='gamma', CenterBrightness='contrast')
    results, noise = dict(img=image), None
    for step in CONFIG.strong_pipeline[:4]:
        step = dict(step)
        if step['type'] in worst:
            key = worst[step['type']]
            step[key] = (min(step[key]),) * 2
        elif step['type'] == 'MildBlur':
            step['sigma'] = (max(step['sigma']),) * 2
        else:
            assert step['type'] == 'SensorNoise'
            noise = max(step['sigma'])
            break
        results = TRANSFORMS.build(step)(results)
    level = results['img'][0, :, 0].astype(float)
    assert (level[100] - level[0]) * np.sqrt(10) / noise > 6


def test_mixup__brings_the_boxes_of_a_second_mosaic(tmp_path):
    init_default_scope('mmyolo')
    pipeline = copy.deepcopy(CONFIG.labeled_pipeline_mixup)
    dataset = Dataset(tmp_path)
    means = {}
    for prob in (0.0, 1.0):
        step = next(t for t in pipeline if t['type'].endswith('MixUp'))
        step['prob'] = prob
        random.seed(0)
        np.random.seed(0)
        counts = [
            len(dataset.load(pipeline)['data_samples']['sup'].gt_instances)
            for _ in range(40)
        ]
        means[prob] = np.mean(counts)
    assert means[1.0] / means[0.0] == pytest.approx(2, rel=0.25)
