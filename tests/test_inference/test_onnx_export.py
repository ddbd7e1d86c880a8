"""onnxruntime finds what PyTorch finds."""

import importlib

import pytest
import torch
from tiny_detector import CLASSES, picture

from dsym.errors import InputError
from dsym.inference import (
    build_predictor,
    load_detector,
    read_config,
    resolve_model,
)
from dsym.inference.onnx_backend import need
from dsym.inference.onnx_export import export_onnx


def export(tiny, out, **kwargs):
    files = resolve_model(*tiny)
    config = read_config(files)
    model, classes = load_detector(files, config, device='cpu')
    return export_onnx(
        model, classes, files.checkpoint, out, (64, 64), **kwargs
    )


def same_detections(tiny, file):
    pytest.importorskip('onnxruntime')
    files = resolve_model(*tiny)
    ours = build_predictor(files, 0.0, bf16=False)
    theirs = build_predictor(files, 0.0, onnx=str(file))
    assert theirs.classes == CLASSES
    # three images: the last call of batch 2 is filled up
    images = [picture(50, 30), picture(30, 50, 1), picture(64, 64, 2)]
    for a, b in zip(ours(images), theirs(images)):
        assert len(a) == len(b) == 5
        torch.testing.assert_close(a.bboxes, b.bboxes, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(a.scores, b.scores, rtol=1e-3, atol=1e-3)
        assert torch.equal(a.labels, b.labels)


def test_same_detections__and_of_no_other_checkpoint(
    tiny, tiny_mamba, tmp_path
):
    pytest.importorskip('onnx')
    file = export(tiny, tmp_path / 'x.onnx', batch=2)
    same_detections(tiny, file)
    with pytest.raises(InputError, match='made of another checkpoint'):
        build_predictor(resolve_model(*tiny_mamba), 0.0, onnx=str(file))


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
