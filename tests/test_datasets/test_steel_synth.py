import json
import multiprocessing
import os
import signal
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest
import torch
import torch.distributed as dist
from mmengine.registry import DATASETS
from mmyolo.datasets import yolov5_collate
from pycocotools.coco import COCO
from torch.utils.data import DataLoader

from dsym.datasets import DatasetError, SteelSynthDataset
from dsym.datasets import steel_cache as cache
from dsym.datasets.neu_det_meta import CLASSES
from dsym.datasets.steel_render import DEFECTS, MIN_SIDE, render_steel_image
from dsym.datasets.steel_textures import SURFACES

FORK = multiprocessing.get_context('fork')


@pytest.fixture(scope='module')
def small_set(tmp_path_factory):
    """24 images of seed 0, made by two workers."""
    root = tmp_path_factory.mktemp('steel_synth')
    return cache.ensure_steel_synth(root, 24, seed=0, num_workers=2)


@pytest.fixture(scope='module')
def samples():
    return [render_steel_image(7, i) for i in range(60)]


def test_styles_cover_the_classes_in_order():
    assert tuple(DEFECTS) == tuple(SURFACES) == CLASSES
    for style in DEFECTS.values():
        assert sum(style.counts) == pytest.approx(1)


def test_box_is_the_tight_box_of_the_mask(samples):
    for sample in samples:
        assert len(sample.masks) == len(sample.boxes) == len(sample.labels)
        for mask, (x1, y1, x2, y2) in zip(sample.masks, sample.boxes):
            # OpenCV as the peer: x, y, width, height.
            expected = cv2.boundingRect(mask.astype(np.uint8))
            assert (x1, y1, x2 - x1, y2 - y1) == expected


def test_mask_is_where_the_defect_was_drawn():
    checked = 0
    # Scratches brighten and every other defect darkens: inside the mask the
    # image differs from its own surroundings in that direction.
    for index in range(60):
        main = index % len(CLASSES)
        sample = render_steel_image(3, index)
        drawn = sample.masks[sample.labels == main].any(0)
        near = cv2.dilate(drawn.astype(np.uint8), np.ones((7, 7))) > 0
        near &= ~cv2.dilate(
            sample.masks.any(0).astype(np.uint8), np.ones((3, 3))
        ).astype(bool)
        if near.sum() < 50 or sample.image.mean() > 235:
            continue  # a saturated image hides the difference
        gap = sample.image[drawn].mean() - sample.image[near].mean()
        assert gap > 0 if CLASSES[main] == 'scratches' else gap < 0, index
        checked += 1
    assert checked > 45


def test_boxes_are_inside_the_image_and_large_enough(samples):
    boxes = np.concatenate([sample.boxes for sample in samples])
    assert boxes.min() >= 0 and boxes.max() <= 200
    assert (boxes[:, 2:] - boxes[:, :2]).min() >= MIN_SIDE


def test_classes_are_balanced_and_no_image_is_empty(samples):
    main = [i % 6 for i in range(60)]
    assert np.bincount(main).tolist() == [10] * 6
    for label, sample in zip(main, samples):
        assert label in sample.labels
        assert sample.image.shape == (200, 200)
        assert sample.image.dtype == np.uint8


def test_pixels_depend_on_seed_and_index_only():
    again = render_steel_image(5, 8)
    assert np.array_equal(render_steel_image(5, 8).image, again.image)
    for other in ((5, 14), (6, 8)):  # same class, other index or seed
        assert not np.array_equal(
            render_steel_image(*other).image, again.image
        )


def test_files_are_the_same_for_any_number_of_images_or_workers(
    small_set, tmp_path
):
    single = cache.ensure_steel_synth(tmp_path, 11, seed=0, num_workers=1)
    few, many = (
        json.loads((folder / 'annotations.json').read_text())
        for folder in (single, small_set)
    )
    assert few['images'] == many['images'][:11]
    assert few['annotations'] == [
        a for a in many['annotations'] if a['image_id'] < 11
    ]
    for image in few['images']:
        name = Path('images') / image['file_name']
        assert (single / name).read_bytes() == (small_set / name).read_bytes()


def test_coco_files_hold_what_was_rendered(small_set):
    coco = COCO(str(small_set / 'annotations.json'))
    assert len(coco.getImgIds()) == 24
    assert len(list((small_set / 'images').iterdir())) == 24
    assert [coco.cats[i + 1]['name'] for i in range(6)] == list(CLASSES)
    for index in coco.getImgIds():
        sample = render_steel_image(0, index)
        name = coco.imgs[index]['file_name']
        image = cv2.imread(str(small_set / 'images' / name), -1)
        assert image.shape == (200, 200, 3)
        assert (image == sample.image[..., None]).all()
        anns = coco.imgToAnns[index]
        boxes = np.array([a['bbox'] for a in anns])
        boxes[:, 2:] += boxes[:, :2]
        assert np.array_equal(boxes, sample.boxes)
        assert [a['category_id'] - 1 for a in anns] == list(sample.labels)
    meta = json.loads((small_set / 'meta.json').read_text())
    assert meta == cache.steel_synth_settings(24, 0)


def test_progress_has_an_eta__and_the_cache_is_used_again(tmp_path, capsys):
    folder = cache.ensure_steel_synth(tmp_path, 9, num_workers=1)
    shown = capsys.readouterr().err
    assert '9/9' in shown and 'ETA' in shown
    written = (folder / 'annotations.json').stat().st_mtime_ns
    assert cache.ensure_steel_synth(tmp_path, 9) == folder
    assert capsys.readouterr().err == ''
    assert (folder / 'annotations.json').stat().st_mtime_ns == written


def test_changed_settings_have_a_folder_of_their_own(monkeypatch):
    folders = [
        cache.steel_synth_folder('root', *args)
        for args in ((12, 0), (13, 0), (12, 1))
    ]
    monkeypatch.setattr(cache, 'GENERATOR_VERSION', -1)
    folders.append(cache.steel_synth_folder('root', 12, 0))
    assert len({folder.name for folder in folders}) == 4


@pytest.mark.parametrize('name', ['images/000001.png', 'annotations.json'])
@pytest.mark.parametrize(
    'damage',
    [
        lambda path: path.unlink(),
        # What a power cut leaves: no content, a part of it, or zeros.
        lambda path: path.write_bytes(b''),
        lambda path: os.truncate(path, path.stat().st_size // 2),
        lambda path: path.write_bytes(bytes(path.stat().st_size)),
    ],
    ids=['lost', 'empty', 'cut off', 'zeros'],
)
def test_damaged_file__the_set_is_made_anew(tmp_path, name, damage):
    folder = cache.ensure_steel_synth(tmp_path, 2, num_workers=1)
    content = (folder / name).read_bytes()
    damage(folder / name)
    assert cache.ensure_steel_synth(tmp_path, 2, num_workers=1) == folder
    assert (folder / name).read_bytes() == content


def test_killed_run_leaves_no_set_no_worker_and_no_lock(tmp_path):
    args = (tmp_path, 500, 0, 2)
    folder = cache.steel_synth_folder(*args[:3])
    process = FORK.Process(target=cache.ensure_steel_synth, args=args)
    process.start()
    unfinished = tmp_path / f'.{folder.name}.tmp'
    deadline = time.time() + 30
    while not list(unfinished.glob('images/*.png')):
        assert time.time() < deadline and process.is_alive()
        time.sleep(0.01)
    workers = psutil.Process(process.pid).children()
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert len(workers) == 2
    assert not psutil.wait_procs(workers, timeout=10)[1]
    assert unfinished.exists() and not folder.exists()
    # The next run, of another size to be quick, starts clean.
    unfinished.rename(unfinished.with_name('renamed'))
    small = cache.steel_synth_folder(tmp_path, 3, 0)
    (tmp_path / 'renamed').rename(tmp_path / f'.{small.name}.tmp')
    cache.ensure_steel_synth(tmp_path, 3, num_workers=1)
    assert len(list((small / 'images').iterdir())) == 3
    assert not (tmp_path / f'.{small.name}.tmp').exists()
    # The kernel gave up the dead process's lock: no waiting.
    with cache.FileLock(tmp_path / f'.{folder.name}.lock', timeout=0):
        pass


@pytest.mark.parametrize(
    ('num_images', 'seed', 'message'),
    [
        (0, 0, 'num_images must be an integer of at least 1, not 0'),
        (6.0, 0, 'num_images must be an integer of at least 1, not 6.0'),
        (6, -1, 'seed must be an integer of at least 0, not -1'),
    ],
)
def test_argument_out_of_range(tmp_path, num_images, seed, message):
    with pytest.raises(DatasetError, match=message):
        SteelSynthDataset(
            data_root=str(tmp_path), num_images=num_images, seed=seed
        )


def test_too_little_disk(tmp_path):
    with pytest.raises(DatasetError, match=r'need .* MB are free; make room'):
        cache.ensure_steel_synth(tmp_path, 10**12)


def test_data_root_is_a_file(tmp_path):
    (tmp_path / 'file').write_text('')
    with pytest.raises(DatasetError, match='choose another data_root'):
        cache.ensure_steel_synth(tmp_path / 'file', 3)


def test_dataset_loads_lazily_and_trains_with_mosaic(small_set):
    load = [
        {'type': 'mmcv.LoadImageFromFile'},
        {'type': 'mmdet.LoadAnnotations', 'with_bbox': True},
    ]
    config = {
        'type': 'SteelSynthDataset',
        'data_root': str(small_set.parent),
        'num_images': 24,
        'pipeline': [
            *load,
            {
                'type': 'mmyolo.Mosaic',
                'img_scale': (128, 128),
                'pre_transform': load,
            },
            {'type': 'mmyolo.YOLOv5RandomAffine', 'border': (-64, -64)},
            {'type': 'mmdet.PackDetInputs', 'meta_keys': ('img_id',)},
        ],
    }
    dataset = DATASETS.build(config)
    assert isinstance(dataset, SteelSynthDataset) and len(dataset) == 24
    assert dataset.metainfo['classes'] == CLASSES
    batch = next(
        iter(DataLoader(dataset, batch_size=4, collate_fn=yolov5_collate))
    )
    assert batch['inputs'].shape == (4, 3, 128, 128)
    assert batch['data_samples']['bboxes_labels'].shape[1] == 6


def test_lazy_init_generates_nothing(tmp_path):
    dataset = SteelSynthDataset(
        data_root=str(tmp_path), num_images=6, num_workers=1, lazy_init=True
    )
    assert not list(tmp_path.iterdir())
    dataset.full_init()
    assert len(dataset) == 6
    assert Path(dataset[5]['img_path']).is_file()


def load_as_rank(rank, root):
    dist.init_process_group(
        'gloo', init_method=f'file://{root}/store', rank=rank, world_size=2
    )
    dataset = SteelSynthDataset(
        data_root=str(root), num_images=12, num_workers=1
    )
    assert len(dataset) == 12
    dist.destroy_process_group()


@pytest.mark.skipif(
    not torch.distributed.is_gloo_available(), reason='torch without gloo'
)
def test_two_ranks_generate_once(tmp_path, capfd):
    ranks = [
        FORK.Process(target=load_as_rank, args=(rank, tmp_path))
        for rank in range(2)
    ]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(60)
    assert [process.exitcode for process in ranks] == [0, 0]
    assert capfd.readouterr().err.count('12/12') == 1


def test_looks_like_neu_det_in_brightness_grain_and_size(neu_det_root):
    root = neu_det_root
    for label, name in enumerate(CLASSES):
        real, drawn = [], []
        for number in range(1, 271, 5):
            stem = f'{name}_{number}'
            image = cv2.imread(str(root / 'IMAGES' / f'{stem}.jpg'), 0)
            tree = ET.parse(root / 'ANNOTATIONS' / f'{stem}.xml')
            areas = [
                np.prod(
                    [
                        int(box.find(f'{axis}max').text)
                        - int(box.find(f'{axis}min').text)
                        for axis in 'xy'
                    ]
                )
                for box in tree.iter('bndbox')
            ]
            real.append(describe(image, areas))
            sample = render_steel_image(1, label + 6 * number)
            sides = sample.boxes[:, 2:] - sample.boxes[:, :2]
            drawn.append(describe(sample.image, sides.prod(1)))
        real, drawn = np.mean(real, 0), np.mean(drawn, 0)
        # Grey level, its deviation, fine grain, mean box area, boxes.
        ratio = drawn / real
        assert (ratio > 0.6).all() and (ratio < 1.6).all(), (name, ratio)


def describe(image, areas):
    image = image.astype(np.float32)
    fine = image - cv2.GaussianBlur(image, (0, 0), 1)
    return image.mean(), image.std(), fine.std(), np.mean(areas), len(areas)
