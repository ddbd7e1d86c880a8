"""Audits of boxes, and detections as labels: counts on a made-up image.

And calibration and the benchmark's step, on a few images of SteelSynth.
"""

import json
import math
import sys
from pathlib import Path

import audit_clip
import detections_to_coco
import numpy as np
import pytest
import torch
from mmengine.registry import DATASETS
from tiny_clip import tiny_clip
from tiny_run import call_script
from tiny_semi import semi_config

from dsym.clip import load_scorer, save_clip
from dsym.clip.calibration import calibrate, labelled_samples
from dsym.datasets import SteelSynthDataset
from dsym.engine.mean_teacher_loop import boxes_per_image
from dsym.errors import MissingFileError
from dsym.models.detectors import DSYMDetector

sys.path.insert(0, str(Path(__file__).parents[2] / 'tools'))

from benchmarks.semi import SemiStep

TOOLS = Path(__file__).resolve().parents[2] / 'tools'
CLASSES = SteelSynthDataset.METAINFO['classes']
# (class, x, y, width, height, score), best first
FOUND = [
    (0, 0, 0, 20, 20, 0.9),  # right
    (0, 0, 0, 20, 18, 0.8),  # the same defect again
    (1, 0, 0, 20, 20, 0.7),  # of another class
    (0, 50, 50, 20, 8, 0.6),  # IoU of 0.4
    (0, 50, 50, 20, 4, 0.5),  # IoU of 0.2
    (0, 80, 0, 10, 10, 0.4),  # background
    (1, 50, 0, 20, 20, 0.3),  # right
]
TRUTH = [(0, 0, 0, 20, 20), (0, 50, 50, 20, 20), (1, 50, 0, 20, 20)]


@pytest.fixture
def prefix(tmp_path):
    """What tools/test.py saves of an image with these detections."""
    image = dict(id=1, file_name='a.png', width=100, height=100)
    truth = dict(
        images=[image],
        categories=[dict(id=i, name=x) for i, x in enumerate(CLASSES)],
        annotations=[
            dict(image_id=1, category_id=label, bbox=box, iscrowd=0)
            for label, *box in TRUTH
        ],
    )
    found = [
        dict(image_id=1, category_id=label, bbox=box, score=score)
        for label, *box, score in FOUND
    ]
    (tmp_path / 'x.gt.json').write_text(json.dumps(truth))
    (tmp_path / 'x.bbox.json').write_text(json.dumps(found))
    return str(tmp_path / 'x')


def test_boxes__which_are_right_and_why_the_others_are_not(prefix):
    boxes = audit_clip.Boxes(prefix)
    assert boxes.right.tolist() == [True, *[False] * 5, True]
    assert boxes.cause[1:6].tolist() == [
        'second box of a defect',
        'another class',
        'IoU of 0.3 to 0.5',
        'IoU of 0.1 to 0.3',
        'background',
    ]
    # two defects of the first class, one of the second
    assert audit_clip.wrong_ones(boxes) == {
        'second box of a defect': 1,
        'another class': 1,
    }


def test_judge__precision_at_the_recall_of_confidence(prefix):
    boxes = audit_clip.Boxes(prefix)
    boxes.classes = boxes.classes[:2]
    by_confidence = audit_clip.judge(boxes, boxes.confidence)
    # one right among two of the first class, none by one of the second
    assert by_confidence['recall'] == pytest.approx(1 / 3)
    first, second = by_confidence['classes'].values()
    assert (first['precision'], first['recall']) == (1, 0.5)
    assert second['precision'] is None
    assert first['auroc'] == 1 and second['auroc'] == 0
    worst = audit_clip.judge(boxes, -boxes.confidence)
    assert worst['classes'][CLASSES[0]]['precision'] == pytest.approx(1 / 5)
    boxes.right[:] = False
    nothing = audit_clip.judge(boxes, boxes.confidence)
    assert math.isnan(nothing['precision']) and nothing['recall'] == 0


def test_boxes__that_were_not_saved_are_named(tmp_path):
    with pytest.raises(MissingFileError, match=r'x\.gt\.json does not exist'):
        audit_clip.Boxes(str(tmp_path / 'x'))


def test_clip_scores__background_is_where_no_sure_box_is(prefix):
    class Scorer:
        def region_scores(self, paths, boxes, shapes, occupied):
            self.asked, self.occupied = boxes[0], occupied[0]
            return [torch.arange(len(x) * 6.0).view(-1, 6) for x in boxes]

    boxes, scorer = audit_clip.Boxes(prefix), Scorer()
    scores = audit_clip.clip_scores(scorer, boxes)
    assert scores.tolist() == [6 * i + x[0] for i, x in enumerate(FOUND)]
    assert torch.equal(scorer.occupied, scorer.asked)  # all of 0.3 and more
    boxes.scores[0][-2:] = [0.29, 0.28]
    audit_clip.clip_scores(scorer, boxes)
    assert torch.equal(scorer.occupied, scorer.asked[:-2])


@pytest.fixture
def calibrated(tmp_path):
    """A config with synthetic images and a hook, and the hook's settings."""
    save_clip(tiny_clip(), tmp_path / 'clip')
    hook = dict(
        clip=str(tmp_path / 'clip'),
        prompts=dict(defect=['steel with {defect_type}']),
        regions=dict(way='dense', image_size=64),
        mode='contrast',
        precision=0.65,
        prior=0.5,
        wrong_shares=(0.5, 0.25, 0.25),
        cache_dir=str(tmp_path / 'cache'),
    )
    real = dict(
        type='SteelSynthDataset',
        data_root=str(tmp_path),
        num_images=6,
        num_workers=1,
    )
    # a painter that would fail
    augment = dict(
        type='DiffusionAugment',
        dataset=real,
        painter=dict(type='DiffusionPainter', model='no/painter'),
        cache_dir=str(tmp_path / 'synthetic'),
    )
    hooks = [dict(hook, type='CLIPFilterHook', priority='LOW')]
    config = tmp_path / 'config.py'
    config.write_text(
        "custom_imports = dict(imports=['dsym'])\n"
        f'custom_hooks = {hooks!r}\n'
        f'train_dataloader = dict(dataset={augment!r})\n'
    )
    return config, hook, real


def calibration(config, out, *options):
    done = call_script(
        TOOLS / 'calibrate_clip.py', config, '--out-dir', out, *options
    )
    assert done.returncode == 0, done.stderr
    assert (out / 'calibration.png').is_file()
    return json.loads((out / 'calibration.json').read_text())


def test_calibrate_clip__real_images_and_settings_of_the_hook(
    calibrated, tmp_path
):
    config, hook, real = calibrated
    samples = labelled_samples(DATASETS.build(real))
    scorer = load_scorer(
        hook['clip'],
        CLASSES,
        'contrast',
        prompts=hook['prompts'],
        regions=hook['regions'],
        cache_dir=hook['cache_dir'],
    )
    for options, precision in ((), 0.65), (('--precision', '0.55'), 0.55):
        content = calibration(config, tmp_path / 'out', *options)
        expected = calibrate(
            scorer, samples, precision, 0.5, wrong_shares=(0.5, 0.25, 0.25)
        )
        assert content['tau'] == pytest.approx(expected.tau)
        right = [len(x['right']) for x in expected.scores]
        assert [len(x['right']) for x in content['scores']] == right
    assert not (tmp_path / 'synthetic').exists()


@pytest.mark.parametrize(
    'options, message',
    [
        (['--clip', 'ViT-B-33'], 'did you mean'),
        (['--clip', 'no/folder'], 'no such folder'),
        (
            ['--cfg-options', 'custom_hooks.0.wrong_shares=(1,2)'],
            'give a share of 0 or more for each of misplaced',
        ),
        (None, 'no_config.py'),
    ],
)
def test_calibrate_clip__bad_input_is_one_line(
    calibrated, tmp_path, options, message
):
    config = calibrated[0] if options else tmp_path / 'no_config.py'
    script = TOOLS / 'calibrate_clip.py'
    done = call_script(script, config, '--out-dir', tmp_path, *options or ())
    assert done.returncode == 2 and 'Traceback' not in done.stderr
    last = done.stderr.splitlines()[-1]  # after progress
    assert last.startswith('calibrate_clip.py: error: ') and message in last


class EnoughError(Exception):
    """A step was made."""


@pytest.mark.parametrize('clip', [False, True])
def test_semi_step__boxes_reach_the_student(tmp_path, clip):
    config = semi_config(tmp_path, burn_in=0, max_epochs=1)
    config.pop('labeled_loader')
    config.custom_hooks = []
    # what no box of an untrained teacher passes
    config.model.semi_train_cfg.selector = dict(type='ClassThresholds')
    config.dump(tmp_path / 'config.py')
    models = []
    train_step = DSYMDetector.train_step

    def watched(model, *args):
        models.append(model)
        return train_step(model, *args)

    def gate():
        raise EnoughError

    step = SemiStep(str(tmp_path / 'config.py'), 'semi', clip=clip)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(DSYMDetector, 'train_step', watched)
        with pytest.raises(EnoughError):
            step(gate)
    (model,) = models
    for record in model.pseudo_records:
        assert len(record.stages['selected']) == 4
        assert not clip or len(record.stages['filtered']) == 4
    judge = model.pseudo_labeler.judge
    assert clip == (judge is not None)
    if clip:  # 4 boxes in each of 2 images
        scored = [judge.counts['scored', i] for i in range(len(CLASSES))]
        assert sum(scored) == 8


def test_choose__the_best_of_each_class():
    rows = [dict(category_id=x) for x in (0, 1, 0, 0, 1)]
    ranks = np.array([0.1, 0.9, 0.8, 0.3, 0.2])
    kept = detections_to_coco.choose(rows, ranks, [2.4, 0.6])
    assert kept == [False, True, True, True, False]


@pytest.mark.parametrize('augmented', [False, True])
def test_detections_to_coco__others_are_crowds(
    prefix, tmp_path, monkeypatch, augmented
):
    labeled = dict(
        type='SteelSynthDataset',
        data_root=str(tmp_path),
        num_images=6,
        num_workers=1,
    )
    # rates are those of real images; the painter would fail
    dataset = dict(
        type='DiffusionAugment', dataset=labeled, painter=dict(type='No')
    )
    config = tmp_path / 'config.py'
    config.write_text(
        "custom_imports = dict(imports=['dsym'])\n"
        f'train_dataloader = dict(dataset={dataset if augmented else labeled})'
    )
    out = tmp_path / 'pseudo.json'
    arguments = [prefix, '--labeled', str(config), '--out', str(out)]
    monkeypatch.setattr(sys, 'argv', ['x', *arguments, '--share', '1.0'])
    assert detections_to_coco.main() == 0
    rates = boxes_per_image(DATASETS.build(labeled))
    expected = [
        min(round(rate), sum(x[0] == i for x in FOUND))
        for i, rate in enumerate(rates)
    ]
    content = json.loads(out.read_text())
    kept = [x for x in content['annotations'] if not x['iscrowd']]
    assert len(content['annotations']) == len(FOUND)
    assert [
        sum(x['category_id'] == i + 1 for x in kept) for i in range(6)
    ] == expected
    assert [x['name'] for x in content['categories']] == [*CLASSES]
    dataset = DATASETS.build(
        dict(
            type='VerifiedCocoDataset',
            ann_file=str(out),
            metainfo=dict(classes=CLASSES),
            verify_images=False,
            lazy_init=True,
        )
    )
    assert dataset.classes == CLASSES
