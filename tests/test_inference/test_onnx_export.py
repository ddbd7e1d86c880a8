"""onnxruntime finds what PyTorch finds."""

import importlib

import pytest
import torch
from tiny_detector import CLASSES, picture

from dsym.datasets.steel_render import render_steel_image
from dsym.errors import InputError
from dsym.inference import (
    build_predictor,
    load_detector,
    read_config,
    resolve_model,
)
from dsym.inference.onnx_backend import need
from dsym.inference.onnx_export import export_onnx

FOUND = 2, 5  # of SteelSynth, in which the detector finds defects


def export(tiny, out, **kwargs):
    files = resolve_model(*tiny)
    config = read_config(files)
    model, classes = load_detector(files, config, device='cpu')
    return export_onnx(
        model, classes, files.checkpoint, out, (64, 64), **kwargs
    )


def same(a, b):
    torch.testing.assert_close(a.bboxes, b.bboxes, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(a.scores, b.scores, rtol=1e-3, atol=1e-3)
    assert torch.equal(a.labels, b.labels)


def same_detections(tiny, file):
    pytest.importorskip('onnxruntime')
    files = resolve_model(*tiny)
    ours = build_predictor(files, 0.0, bf16=False)
    theirs = build_predictor(files, 0.0, onnx=str(file))
    assert theirs.classes == CLASSES
    # three images: the last call of batch 2 is filled up
    images = [picture(50, 30), picture(30, 50, 1), picture(64, 64, 2)]
    for a, b in zip(ours(images), theirs(images)):
        assert len(a) == 5
        same(a, b)


def test_same_detections__and_of_no_other_checkpoint(
    tiny, tiny_mamba, tmp_path
):
    pytest.importorskip('onnx')
    file = export(tiny, tmp_path / 'x.onnx', batch=2)
    same_detections(tiny, file)
    with pytest.raises(InputError, match='made of another checkpoint'):
        build_predictor(resolve_model(*tiny_mamba), 0.0, onnx=str(file))


def test_packaged_detector__same_detections_on_steel(tmp_path):
    pytest.importorskip('onnx')
    pytest.importorskip('onnxruntime')
    files = resolve_model()
    model, classes = load_detector(files, read_config(files), device='cpu')
    file = export_onnx(
        model, classes, files.checkpoint, tmp_path / 'x.onnx', (224, 224)
    )
    ours = build_predictor(files, 0.25, bf16=False)
    theirs = build_predictor(files, 0.25, onnx=str(file))
    images = [
        render_steel_image(0, i).image[..., None].repeat(3, 2) for i in FOUND
    ]
    for a, b in zip(ours(images), theirs(images)):
        assert len(a)
        same(a, b)


def test_mamba_head__same_detections(tiny_mamba, tmp_path):
    pytest.importorskip('onnx')
    same_detections(tiny_mamba, export(tiny_mamba, tmp_path / 'x.onnx'))


def test_no_onnx_file__one_line(tiny, tmp_path):
    pytest.importorskip('onnxruntime')
    (tmp_path / 'x.onnx').write_text('no model')
    with pytest.raises(InputError, match=r'x\.onnx: not a model of'):
        build_predictor(
            resolve_model(*tiny), 0.0, onnx=str(tmp_path / 'x.onnx')
        )


def test_size_that_no_stride_divides__one_line(tiny, tmp_path):
    pytest.importorskip('onnx')
    files = resolve_model(*tiny)
    model, classes = load_detector(files, read_config(files), device='cpu')
    with pytest.raises(InputError, match='multiples of 32'):
        export_onnx(
            model, classes, files.checkpoint, tmp_path / 'x.onnx', (60, 64)
        )


def test_missing_package__says_what_to_install(monkeypatch):
    def fail(name):
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib, 'import_module', fail)
    with pytest.raises(InputError, match='pip install onnx onnxruntime'):
        need('onnxruntime')
