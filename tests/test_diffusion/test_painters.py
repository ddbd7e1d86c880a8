"""Painters: a tiny model and copies, job by job."""

import numpy as np
import pytest
import torch
from tiny_diffusion import (
    CLASSES,
    saved_diffusion,
    tiny_diffusion,
    write_steel,
)

from dsym.diffusion import (
    CopyPastePainter,
    DiffusionPainter,
    load_diffusion,
    save_diffusion,
)
from dsym.diffusion.examples import DefectExamples
from dsym.diffusion.painters import CLEAN, Job, as_tensor
from dsym.errors import InputError, MissingFileError

BOX = np.array([0.25, 0.25, 0.75, 0.5], np.float32)
INSIDE = np.s_[4:8, 4:12]  # of 16 px


@pytest.fixture(scope='module')
def model(tmp_path_factory):
    return saved_diffusion(tmp_path_factory.mktemp('diffusion'))


@pytest.fixture(scope='module')
def examples(tmp_path_factory):
    return DefectExamples(write_steel(tmp_path_factory.mktemp('steel')))


def job(label, seed, size=16):
    rng = np.random.default_rng(seed)
    window = rng.integers(0, 256, (size, size, 1), np.uint8)
    return Job(window, BOX, label, seed)


JOBS = [job(0, 5), job(CLEAN, 6), job(1, 7)]
DEFECTS = JOBS[::2]


def build(model, **options):
    options = {'num_steps': 2, 'bf16': False, **options}
    return DiffusionPainter(model, CLASSES, **options)


def test_windows__as_the_model_was_trained(model):
    painter = build(model)
    assert (painter.size, painter.channels) == (16, 1)
    assert (painter.context, painter.min_side) == ((1.2, 2.0), 16)


def by_hand(model, jobs, labels, guidance, draft=None, strength=1.0):
    """The model's own painting of the jobs."""
    noise = [
        torch.randn(1, 16, 16, generator=torch.Generator().manual_seed(x.seed))
        for x in jobs
    ]
    painted = load_diffusion(model).paint(
        as_tensor([x.window for x in jobs]),
        [torch.tensor([x]) for x in labels],
        [torch.from_numpy(x.box)[None] for x in jobs],
        num_steps=2,
        guidance=guidance,
        noise=torch.stack(noise),
        draft=draft,
        strength=strength,
    )
    return ((painted + 1) * 127.5).permute(0, 2, 3, 1).numpy()


def assert_equal_pixels(found, expected):
    """But for rounding."""
    assert {x.dtype for x in found} == {np.dtype(np.uint8)}
    assert np.abs(np.stack(found) - expected).max() < 0.6


def test_paint__is_the_models_with_the_jobs_noise(model):
    painted = build(model, guidance=3.0).paint(JOBS)
    defects = by_hand(model, DEFECTS, [0, 1], 3.0)
    assert_equal_pixels([painted[0], painted[2]], defects)
    # C + 1 is the label of a box without a defect; it needs no guidance
    clean = by_hand(model, JOBS[1:2], [3], 1.0)
    assert_equal_pixels(painted[1:2], clean)


def test_paint__only_the_box_changes(model):
    for painted, x in zip(build(model).paint(JOBS), JOBS):
        outside = np.ones((16, 16), bool)
        outside[INSIDE] = False
        assert np.array_equal(painted[outside], x.window[outside])
        assert not np.array_equal(painted[INSIDE], x.window[INSIDE])


def test_paint__same_in_batches_of_any_size(model):
    whole = build(model).paint(JOBS)
    for batch_size in (1, 2):
        parts = build(model, batch_size=batch_size).paint(JOBS)
        difference = np.stack(parts).astype(int) - np.stack(whole)
        assert np.abs(difference).max() <= 1
    assert np.array_equal(whole[0], build(model).paint(JOBS)[0])
    other = build(model).paint([JOBS[0]._replace(seed=8)])[0]
    assert not np.array_equal(whole[0], other)


def test_strength__drafts_of_defects_but_none_of_clean_boxes(model, examples):
    painted = build(model, examples=examples, strength=0.5).paint(JOBS)
    draft = as_tensor([examples.put_into(*x) for x in DEFECTS])
    defects = by_hand(model, DEFECTS, [0, 1], 2.0, draft, 0.5)
    assert_equal_pixels([painted[0], painted[2]], defects)
    clean = by_hand(model, JOBS[1:2], [3], 1.0)
    assert_equal_pixels(painted[1:2], clean)


def test_bf16__is_near(model):
    exact, rough = (build(model, bf16=x).paint(JOBS) for x in (False, True))
    difference = np.stack(exact).astype(int) - np.stack(rough)
    assert 0 < np.abs(difference).mean() < 3


@pytest.mark.parametrize('tiles', [True, False])
def test_bf16__of_a_device_with_a_number(model, monkeypatch, tiles):
    """'cuda:0' has the units that 'cuda' has; here the CPU's, as told."""
    for probe in ('_is_avx512_bf16_supported', '_is_amx_tile_supported'):
        told = tiles or 'avx512' in probe
        monkeypatch.setattr(torch.cpu, probe, lambda x=told: x, raising=False)
    for device in ('cpu', 'cpu:0'):
        assert build(model, bf16=None, device=device).bf16 == tiles


def test_strength_without_examples__is_refused(model):
    with pytest.raises(InputError, match=r'strength=0\.5 needs examples'):
        build(model, strength=0.5)


def test_num_steps__at_least_one(model):
    with pytest.raises(InputError, match='num_steps=0: give 1'):
        build(model, num_steps=0)


@pytest.mark.parametrize('clean', [None, 0.1, 0.0])
def test_clean__is_not_painted_by_a_model_that_saw_none(tmp_path, clean):
    save_diffusion(
        tiny_diffusion(2), tmp_path, CLASSES, (1.2, 2.0), 16, clean=clean
    )
    painter = build(str(tmp_path))
    defects = [x for x in JOBS if x.label != CLEAN]
    assert len(defects) < len(JOBS)
    assert len(painter.paint(defects)) == len(defects)
    if clean != 0:
        assert len(painter.paint(JOBS)) == len(JOBS)
        return
    with pytest.raises(InputError, match='no place without a defect'):
        painter.paint(JOBS)


@pytest.mark.parametrize('strength', [0.0, -0.5, 1.5])
def test_strength__out_of_its_range_is_refused(model, examples, strength):
    with pytest.raises(InputError, match=f'strength={strength}'):
        build(model, examples=examples, strength=strength)


@pytest.mark.parametrize('classes', [CLASSES[::-1], ('dark-spot',)])
def test_classes__other_than_the_models_are_refused(model, classes):
    with pytest.raises(InputError) as error:
        DiffusionPainter(model, classes)
    assert 'trained for dark-spot, bright-line' in str(error.value)
    assert f'has {", ".join(classes)}' in str(error.value)


def test_missing_folder__is_named(tmp_path):
    folder = str(tmp_path / 'nothing')
    with pytest.raises(MissingFileError) as error:
        DiffusionPainter(folder, CLASSES)
    assert folder in str(error.value)
    assert 'ExportDiffusionHook' in str(error.value)


def test_copies__are_the_examples(examples):
    painter = CopyPastePainter(CLASSES, examples, context=[1.0, 2.0])
    assert painter.context == (1.0, 2.0)
    for painted, x in zip(painter.paint(JOBS), JOBS):
        assert np.array_equal(painted, examples.put_into(*x))
