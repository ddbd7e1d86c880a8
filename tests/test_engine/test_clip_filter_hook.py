"""CLIPFilterHook: in tiny semi-supervised runs with a tiny CLIP.

Phase 1 has 3 steps, phase 2 has 4; a checkpoint is written after step 5.
"""

import copy
import json
import math
import re
import shutil
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.registry import DATASETS
from mmengine.runner import Runner
from tiny_clip import tiny_clip
from tiny_semi import semi_config, train

from dsym.clip import Prompts, RegionSettings, save_clip
from dsym.clip.calibration import calibrate, labelled_samples
from dsym.clip.models import WEIGHTS
from dsym.clip.scorer import CLIPScorer
from dsym.datasets import SteelSynthDataset
from dsym.engine import CLIPFilterHook, clip_filter_hook
from dsym.errors import InputError

CLASSES = SteelSynthDataset.METAINFO['classes']
PROMPTS = Prompts(CLASSES, normal=('flawless steel',))
REGIONS = RegionSettings('dense', image_size=64)
# shares of seven texts are between 0 and 1
TAU = [0.0, 1.0, 0.0, 1.0, 0.0, 1.0]
DECAY = 0.1
STATE = 'clip_filter'


class Watch(Hook):
    """What the filter was and did in every step."""

    priority = 'VERY_LOW'

    def __init__(self, cache):
        self.cache = cache
        self.steps = []

    def after_train_iter(self, runner, *args, **kwargs):
        found = runner.model.pseudo_labeler.judge
        self.steps.append(
            dict(
                attached=found is not None,
                cached=self.cache.exists(),
                factor=found and found.factor,
                records=copy.deepcopy(runner.model.pseudo_records),
                kept=runner.message_hub.log_scalars.get('train/clip_kept'),
            )
        )


@pytest.fixture(scope='module')
def clip_folder(tmp_path_factory):
    """A folder as ExportCLIPHook writes it."""
    clip = tiny_clip()
    clip.settings = dict(prompts=PROMPTS.to_dict(), regions=REGIONS.to_dict())
    folder = tmp_path_factory.mktemp('clip')
    save_clip(clip, folder)
    return folder


@pytest.fixture(scope='module')
def unbroken(tmp_path_factory, clip_folder):
    """The config of a run, its runner, steps and what was watched."""
    folder = tmp_path_factory.mktemp('clip_run')
    config = semi_config(folder, max_epochs=2)
    config.visualizer.vis_backends = [dict(type='LocalVisBackend')]
    config.custom_hooks = [
        dict(
            type='CheckpointHook',
            by_epoch=False,
            interval=5,
            save_last=False,
            filename_tmpl='step_{}.pth',
        ),
        dict(
            type='CLIPFilterHook',
            clip=str(clip_folder),
            tau=TAU,
            decay=DECAY,
            cache_dir=str(folder / 'cache'),
        ),
    ]
    watch = Watch(folder / 'cache')
    runner, steps = train(config, hooks=[watch])
    runner.model.attach_filter(None)  # for the tests' own
    return config, runner, steps, watch.steps


def hook_of(runner):
    return next(x for x in runner.hooks if isinstance(x, CLIPFilterHook))


def log_of(runner):
    return next(Path(runner.log_dir).glob('*.log')).read_text()


def summary(runner):
    """The line of the log with the images, those with the boxes."""
    log = log_of(runner)
    lines = log[log.index('CLIP kept') :].splitlines()
    return [x.strip() for x in lines[: 1 + len(CLASSES)]]


def test_phase_1__is_left_alone(unbroken):
    *_, watched = unbroken
    assert [x['attached'] for x in watched] == [False] * 3 + [True] * 4
    assert [x['cached'] for x in watched] == [False] * 3 + [True] * 4


def test_threshold__falls_over_phase_2(unbroken):
    *_, watched = unbroken
    expected = [math.exp(-DECAY * i / 4) for i in range(4)]
    assert [x['factor'] for x in watched[3:]] == pytest.approx(expected)


def test_boxes__kept_by_the_thresholds_of_their_classes(unbroken):
    _, runner, _, watched = unbroken
    seen, kept, images = [], [], 0
    for step in watched[3:]:
        for record in step['records']:
            selected = record.stages['selected'].labels.tolist()
            filtered = record.stages['filtered']
            passed = [x for x in selected if TAU[x] == 0]
            images += not filtered.refused
            if filtered.refused:
                passed = []
            assert filtered.labels.tolist() == passed
            seen += selected
            kept += passed
    assert 0 < len(kept) < len(seen)
    share = watched[-1]['kept'].current()
    assert share == pytest.approx(len(kept) / len(seen))

    first, *lines = summary(runner)
    assert first == f'CLIP kept {images / 8:.1%} of 8 images; of the boxes:'
    for i, (name, line) in enumerate(zip(CLASSES, lines)):
        number = seen.count(i)
        rate = f'{kept.count(i) / number:.1%}' if number else 'nan%'
        assert line.startswith(f'{name}: {rate} of {number}, mean score ')
    (scalars,) = Path(runner.work_dir).glob('*/vis_data/scalars.json')
    rows = [json.loads(x) for x in scalars.read_text().splitlines()]
    (row,) = [x for x in rows if 'clip/images_kept' in x]
    assert row['clip/images_kept'] == images / 8 and row['step'] == 2
    for i, name in enumerate(CLASSES):
        if seen.count(i):
            rate = kept.count(i) / seen.count(i)
            assert row[f'clip/{name}_kept'] == pytest.approx(rate)


def test_resume__thresholds_counts_and_losses(unbroken, tmp_path):
    config, runner, steps, _ = unbroken
    checkpoint = Path(runner.work_dir) / 'step_5.pth'
    state = torch.load(checkpoint, weights_only=False)[STATE]
    counts = {tuple(key): n for key, n in state['counts']}
    assert counts['images', None] == 4  # two steps of phase 2
    again, more = train(
        config,
        load_from=str(checkpoint),
        resume=True,
        work_dir=str(tmp_path),
        experiment_name='clip_resumed',
    )
    assert len(more) == 2
    for old, new in zip(steps[5:], more):
        assert new['outputs'] == pytest.approx(old['outputs'], rel=1e-4)
    assert summary(again) == summary(runner)
    assert 'CLIP calibrated' not in log_of(again)
    one, two = hook_of(runner).filter, hook_of(again).filter
    assert torch.equal(one.tau, two.tau) and one.tau.tolist() == TAU
    assert (one.image_tau, one.typical_tau) == (two.image_tau, two.typical_tau)


def test_calibration__on_the_labelled_images_alone(unbroken, clip_folder):
    config, runner, *_ = unbroken
    cache = config.custom_hooks[1].cache_dir
    hook = CLIPFilterHook(
        str(clip_folder),
        precision=0.65,
        wrong_shares=(1, 0, 0),
        cache_dir=cache,
    )
    found = hook.build(runner)  # where phase 2's loader is the current one
    data = DATASETS.build(config.train_dataloader.dataset)
    assert len(data) == len(found.typical) == 6
    scorer = CLIPScorer(found.scorer.clip, PROMPTS, REGIONS, cache_dir=cache)
    expected = calibrate(
        scorer, labelled_samples(data), 0.65, wrong_shares=(1, 0, 0)
    )
    assert found.tau.tolist() == pytest.approx(expected.tau)
    assert found.image_tau == pytest.approx(expected.image_tau)
    assert found.typical_tau == pytest.approx(expected.typical_tau)


def test_state__of_a_checkpoint_wins_over_calibration(
    unbroken, clip_folder, monkeypatch
):
    config, runner, *_ = unbroken
    hook = CLIPFilterHook(
        str(clip_folder), cache_dir=config.custom_hooks[1].cache_dir
    )
    state = dict(
        tau=[0.1] * 6,
        image_tau=0.2,
        typical_tau=-0.3,
        model='of another run',
        counts=[(('boxes', 1), 5)],
    )
    hook.after_load_checkpoint(runner, {STATE: state})
    assert hook._state is None  # loaded, not resumed
    runner._resume = True
    try:
        hook.after_load_checkpoint(runner, {STATE: state})
    finally:
        runner._resume = False
    found = hook.build(runner)
    assert found.tau.tolist() == pytest.approx([0.1] * 6)
    assert (found.image_tau, found.typical_tau) == (0.2, -0.3)
    assert found.counts == {('boxes', 1): 5}
    assert 'scores otherwise than in the resumed run' in log_of(runner)
    # what the config says comes before
    given = CLIPFilterHook(
        str(clip_folder),
        cache_dir=config.custom_hooks[1].cache_dir,
        tau=0.5,
        image_tau=0.4,
    )
    given._state = {**state, 'typical_tau': float('-inf')}
    again = given.build(runner)
    assert again.tau.tolist() == [0.5] * 6
    assert again.image_tau == 0.4
    # that run had typical=False
    assert -float('inf') < again.typical_tau < 0
    # counts are summed over ranks: the one that wrote them has them
    monkeypatch.setattr(clip_filter_hook, 'is_main_process', lambda: False)
    hook._state = state
    assert not hook.build(runner).counts


def test_state__whose_likeness_was_a_cosine(unbroken, clip_folder):
    """No distance is positive: every image would be refused by it."""
    config, runner, *_ = unbroken
    hook = CLIPFilterHook(
        str(clip_folder), cache_dir=config.custom_hooks[1].cache_dir
    )
    hook._state = dict(tau=[0.1] * 6, image_tau=0.2, typical_tau=0.8)
    found = hook.build(runner)
    expected = found.typical.own().quantile(0.025).item()
    assert found.typical_tau == hook._state['typical_tau'] == expected < 0
    assert found.image_tau == 0.2
    assert 'is chosen anew' in log_of(runner)


@pytest.mark.parametrize('tau, expected', [(0.3, [0.3] * 6), (TAU, TAU)])
def test_given_thresholds__need_no_calibration(
    unbroken, clip_folder, tau, expected
):
    config, runner, *_ = unbroken
    hook = CLIPFilterHook(
        str(clip_folder),
        tau=tau,
        image_tau=0.0,
        typical=False,
        cache_dir=config.custom_hooks[1].cache_dir,
    )
    calibrated = log_of(runner).count('CLIP calibrated')
    found = hook.build(runner)
    assert found.tau.tolist() == pytest.approx(expected)
    assert found.image_tau == 0 and found.typical is None
    assert log_of(runner).count('CLIP calibrated') == calibrated


@pytest.mark.parametrize('action', ['drop', 'rescore'])
def test_rescore__comes_before_the_selection(unbroken, clip_folder, action):
    config, runner, *_ = unbroken
    hook = CLIPFilterHook(
        str(clip_folder),
        action=action,
        tau=0.3,
        image_tau=0.0,
        typical=False,
        cache_dir=config.custom_hooks[1].cache_dir,
    )
    try:
        hook.before_train_epoch(runner)
        labeler = runner.model.pseudo_labeler
        assert labeler.judge is hook.filter
        assert labeler.before_selection == (action == 'rescore')
    finally:
        runner.model.attach_filter(None)


@pytest.mark.parametrize(
    'options, message',
    [
        (dict(clip='ViT-B-33'), 'did you mean'),
        (dict(clip='ViT-B-32'), 'without pretrained'),
        (dict(clip='local-dir:/no/folder'), '/no/folder'),
        (dict(prompts=dict(words=dict(crazing='x'))), 'no word for class'),
        (dict(prompts=dict(classes=('rust',))), r'rust, but the data set has'),
    ],
)
def test_bad_input__is_told_before_phase_1(
    unbroken, clip_folder, options, message
):
    _, runner, *_ = unbroken
    hook = CLIPFilterHook(**{'clip': str(clip_folder), **options})
    with pytest.raises(InputError, match=message) as error:
        hook.before_train(runner)
    assert '\n' not in str(error.value)


def test_model_that_cannot_be_loaded__is_told_before_phase_1(
    unbroken, clip_folder, tmp_path, monkeypatch
):
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
    _, runner, *_ = unbroken
    hook = CLIPFilterHook('hf-hub:steel/tiny', download_dir=str(tmp_path))
    with pytest.raises(InputError, match='steel/tiny cannot be downloaded'):
        hook.before_train(runner)
    # and weights that are cut short
    shutil.copytree(clip_folder, tmp_path / 'short')
    weights = tmp_path / 'short' / WEIGHTS
    weights.write_bytes(weights.read_bytes()[:-100])
    hook = CLIPFilterHook(str(tmp_path / 'short'))
    with pytest.raises(InputError, match=r'short cannot be loaded'):
        hook.before_train(runner)


def test_loading_before_phase_1__draws_nothing(unbroken, clip_folder):
    _, runner, *_ = unbroken
    state = torch.get_rng_state()
    CLIPFilterHook(str(clip_folder)).before_train(runner)
    assert torch.equal(torch.get_rng_state(), state)


def test_rescore__warns_of_a_fixed_threshold(unbroken, clip_folder):
    _, runner, *_ = unbroken
    text = 'ScoreThreshold compares them with a fixed number'
    CLIPFilterHook(str(clip_folder)).before_train(runner)
    assert text not in log_of(runner)
    CLIPFilterHook(str(clip_folder), action='rescore').before_train(runner)
    assert text in log_of(runner)


def test_unreadable_unlabelled_image__does_not_stop_phase_2(
    unbroken, clip_folder, tmp_path, monkeypatch
):
    config, runner, *_ = unbroken
    hook = CLIPFilterHook(
        str(clip_folder), cache_dir=config.custom_hooks[1].cache_dir
    )
    data = runner.train_loop.unlabeled.dataset
    info = data.get_data_info

    def get_data_info(index):
        if index:
            return info(index)
        return dict(info(index), img_path=str(tmp_path / 'broken.png'))

    (tmp_path / 'broken.png').write_bytes(b'no image')
    monkeypatch.setattr(data, 'get_data_info', get_data_info)
    lines = []
    monkeypatch.setattr('dsym.clip.cache.warn', lines.append)
    found = hook.build(runner)
    assert len(found.typical) == 6  # all of the labelled ones
    (line,) = lines
    assert '1 images cannot be read' in line and 'broken.png' in line


def test_model_without_filter__is_told_which_has_one(tmp_path, clip_folder):
    class Plain(BaseModel):
        def forward(self, inputs, mode='tensor'):
            return inputs

    runner = Runner(
        Plain(), work_dir=str(tmp_path), experiment_name='plain_clip'
    )
    hook = CLIPFilterHook(str(clip_folder))
    with pytest.raises(InputError, match=r"Plain takes no.*'DSYMDetector'"):
        hook.before_train(runner)


def test_reweight__needs_a_head_that_knows_weights(unbroken, clip_folder):
    _, runner, *_ = unbroken
    hook = CLIPFilterHook(str(clip_folder), action='reweight')
    hook.before_train(runner)  # dsym's head does
    runner.model.knows_weights = False
    try:
        with pytest.raises(InputError, match='knows no weights'):
            hook.before_train(runner)
    finally:
        runner.model.knows_weights = True


def test_thresholds__one_a_class(unbroken, clip_folder):
    config, runner, *_ = unbroken
    hook = CLIPFilterHook(
        str(clip_folder),
        tau=[0.1, 0.2],
        image_tau=0.0,
        typical=False,
        cache_dir=config.custom_hooks[1].cache_dir,
    )
    with pytest.raises(InputError, match='2 thresholds for 6 classes'):
        hook.build(runner)


def test_other_loop__is_refused(tmp_path, clip_folder):
    config = semi_config(tmp_path)
    config.pop('labeled_loader')
    config.pop('train_cfg')
    config.train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=1)
    runner = Runner.from_cfg(config)
    hook = CLIPFilterHook(str(clip_folder))
    with pytest.raises(InputError, match='MeanTeacherLoop'):
        hook.before_train(runner)
    assert not re.search('CLIP', log_of(runner))
