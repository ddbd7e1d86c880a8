"""Audits with calibrated thresholds: on a few images in NEU-DET's form."""

import json
import sys
from pathlib import Path

import audit_clip_images
import audit_clip_thresholds
import numpy as np
import pytest
import torch
from dataset_files import write_image, write_xml
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import DATASETS
from mmengine.structures import InstanceData
from tiny_clip import tiny_clip

from dsym.clip import PseudoLabelFilter, load_scorer, save_clip
from dsym.clip.calibration import (
    calibrate,
    labelled_samples,
)
from dsym.clip.typical import TypicalImages
from dsym.datasets import SteelSynthDataset
from dsym.errors import InputError

CLASSES = SteelSynthDataset.METAINFO['classes']


@pytest.fixture
def neu_det(tmp_path):
    """Eight images as NEU-DET has them; all but two are labelled."""
    root = tmp_path / 'NEU-DET'
    names = [f'{CLASSES[i % 6]}_{i}' for i in range(8)]
    for i, name in enumerate(names):
        write_image(root / f'IMAGES/{name}.jpg', 96, 96, seed=i)
        box = 4, 4, 24 + 4 * i, 30
        path = root / f'ANNOTATIONS/{name}.xml'
        write_xml(path, [(name.rpartition('_')[0], box)], (96, 96))
    for split, part in (('labelled', names[2:]), ('other', names)):
        (tmp_path / f'{split}.txt').write_text('\n'.join(part))
    return dict(
        type='NEUDETDataset',
        data_root=str(root),
        split=str(tmp_path / 'labelled.txt'),
    )


def test_audit_clip_images__thresholds_of_real_images(
    neu_det, tmp_path, monkeypatch
):
    save_clip(tiny_clip(), tmp_path / 'clip')
    augment = dict(
        type='DiffusionAugment', dataset=neu_det, painter=dict(type='No')
    )
    config = tmp_path / 'config.py'
    config.write_text(f'train_dataloader = dict(dataset={augment!r})\n')
    out = tmp_path / 'audit.json'
    options = dict(
        clip=tmp_path / 'clip',
        split=tmp_path / 'other.txt',
        mode='cosine',
        images=tmp_path / 'polluted',
        out=out,
    )
    options['cache-dir'] = tmp_path / 'cache'
    arguments = [str(y) for k, x in options.items() for y in (f'--{k}', x)]
    monkeypatch.setattr(sys, 'argv', ['x', str(config), *arguments])
    audit_clip_images.main()
    content = json.loads(out.read_text())
    # a quarter of the eight of each other kind
    assert content['images'].pop('defect images') == 8
    assert [*content['images'].values()] == [2, 2, 2, 2]
    scorer = load_scorer(
        str(options['clip']),
        CLASSES,
        'cosine',
        cache_dir=str(options['cache-dir']),
    )
    expected = calibrate(
        scorer, labelled_samples(DATASETS.build(neu_det)), 0.8
    )
    for key in ('image_tau', 'typical_tau'):
        assert content[key] == pytest.approx(getattr(expected, key), abs=1e-5)


@pytest.fixture
def found(neu_det, tmp_path):
    """A right and a wrong box in each of the eight images; which comes first.

    Returns:
        list[tuple]: Path, class and box of the more confident ones.
    """
    images, annotations, rows, first = [], [], [], []
    for i in range(8):
        label, size = i % 6, 96
        name = f'{CLASSES[label]}_{i}.jpg'
        path = str(Path(neu_det['data_root']) / 'IMAGES' / name)
        images.append(dict(id=i, file_name=path, width=size, height=size))
        right, wrong = [4, 4, 20 + 4 * i, 26], [40, 60, 30, 30]
        of_image = dict(image_id=i, category_id=label)
        annotations.append(dict(of_image, bbox=right, iscrowd=0))
        rows.append(dict(of_image, bbox=right, score=0.9))
        # of even images the wrong one is more confident
        rows.append(dict(of_image, bbox=wrong, score=0.8 + 0.15 * (1 - i % 2)))
        first.append((path, label, right if i % 2 else wrong))
    categories = [dict(id=i, name=x) for i, x in enumerate(CLASSES)]
    truth = dict(images=images, categories=categories, annotations=annotations)
    (tmp_path / 'x.gt.json').write_text(json.dumps(truth))
    (tmp_path / 'x.bbox.json').write_text(json.dumps(rows))
    return first


def test_audit_clip_thresholds__promised_and_reached(
    neu_det, found, tmp_path, monkeypatch
):
    save_clip(tiny_clip(), tmp_path / 'clip')
    config = tmp_path / 'config.py'
    config.write_text(f'train_dataloader = dict(dataset={neu_det!r})\n')
    out, cache = tmp_path / 'out.json', str(tmp_path / 'cache')
    options = dict(clip=tmp_path / 'clip', modes='softmax', out=out)
    options.update({'precision': 0.65, 'prior': 0.5, 'cache-dir': cache})
    arguments = [str(y) for k, x in options.items() for y in (f'--{k}', x)]
    arguments = ['x', str(config), str(tmp_path / 'x'), *arguments]
    monkeypatch.setattr(sys, 'argv', arguments)
    audit_clip_thresholds.main()
    content = json.loads(out.read_text())
    assert (content['wanted'], content['boxes'], content['truth']) == (
        0.65,
        8,
        8,
    )
    result = content['modes']['softmax']
    assert result['before'] == dict(precision=0.5, recall=0.5)

    samples = labelled_samples(DATASETS.build(neu_det))
    scorer = load_scorer(str(options['clip']), CLASSES, cache_dir=cache)
    promised = calibrate(scorer, samples, 0.65, 0.5)
    judge = PseudoLabelFilter(
        scorer,
        torch.tensor(promised.tau),
        promised.image_tau,
        typical=TypicalImages.of(scorer, samples),
        typical_tau=promised.typical_tau,
    )
    seen, right, by_class = [], [], [[0, 0] for _ in CLASSES]
    for path, label, (x, y, width, height) in found:
        meta = dict(img_path=path, ori_shape=(96, 96))
        seen += judge.keep_images([DetDataSample(metainfo=meta)])
        box = torch.tensor([[x, y, x + width, y + height]]).float()
        (scores,) = scorer.region_scores([path], [box], [(96, 96)])
        tau = promised.tau[label]
        if seen[-1] and (not tau or scores[0, label] > tau):
            right.append(x == 4)
            by_class[label][0] += 1
            by_class[label][1] += x == 4
    assert result['images_refused'] == 1 - sum(seen) / 8
    assert 0 < len(right) < 8
    assert result['reached'] == dict(
        precision=pytest.approx(sum(right) / len(right)), recall=sum(right) / 8
    )
    defects = [2, 2, 1, 1, 1, 1]
    for label, row in enumerate(result['classes'].values()):
        kept, good = by_class[label]
        assert row['tau'] == pytest.approx(promised.tau[label])
        assert row['promised'] == pytest.approx(
            dict(
                precision=promised.precision[label],
                recall=promised.recall[label],
            )
        )
        assert row['reached'] == dict(
            precision=good / kept if kept else None,
            recall=good / defects[label],
        )


def test_free_crop__image_without_room_has_none(tmp_path):
    path = tmp_path / 'small.jpg'
    write_image(path, 96, 64)
    boxes = InstanceData(bboxes=torch.zeros(0, 4))
    found, image = audit_clip_images.free_crop(
        (str(path), (64, 96), boxes), np.random.default_rng(0)
    )
    assert not found
    assert image.shape == (64, 96, 3)


def test_audit_clip_images__data_set_without_splits(tmp_path):
    config = Config(
        dict(train_dataloader=dict(dataset=dict(type='SteelSynthDataset')))
    )
    with pytest.raises(InputError, match=r'split dev: .* has no split: give'):
        audit_clip_images.other_split(config, 'dev')
