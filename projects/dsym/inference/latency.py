"""Time a detector in PyTorch and in onnxruntime, image to detections."""

import copy
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Dict, List, Tuple

import numpy as np
import torch
from mmdet.structures import DetDataSample

from ..provenance import describe_machine, git_commit
from .model import (
    ModelFiles,
    load_detector,
    merge_branches,
    read_config,
    set_test_cfg,
)
from .onnx_backend import OnnxBackend
from .onnx_export import export_onnx
from .predictor import Backend, TorchBackend

BATCHES = (1, 8)
SCORE_THR = 0.25  # the default of tools/predict.py
WARM_UP = 3  # calls that are not counted


def time_calls(
    backend: Backend, size: Tuple[int, int], batch: int, calls: int
) -> List[float]:
    """Time calls on noise, from uint8 pixels to detections.

    Args:
        backend (Backend): The network.
        size (tuple[int]): Height and width.
        batch (int): Images a call.
        calls (int): How many are timed.

    Returns:
        list[float]: Milliseconds of each call.
    """
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(
        0, 256, (batch, 3, *size), generator=generator, dtype=torch.uint8
    )
    meta = dict(ori_shape=size, img_shape=size, scale_factor=(1.0, 1.0))
    found = []
    for call in range(WARM_UP + calls):
        samples = [DetDataSample(metainfo=meta) for _ in range(batch)]
        begin = time.perf_counter()
        backend(list(images), samples)
        if call >= WARM_UP:
            found.append(1000 * (time.perf_counter() - begin))
    return found


def measure_latency(
    files: ModelFiles,
    size: Tuple[int, int],
    calls: int,
) -> Dict[str, Any]:
    """Compare the ways to run a model.

    ``pytorch fp32`` is the model as it was trained; ``pytorch deploy`` has
    branches and norms merged, channels last, and bfloat16 where the processor
    has units for it, as ``tools/predict.py`` runs it.

    Args:
        files (ModelFiles): Of the model.
        size (tuple[int]): Height and width.
        calls (int): Timed calls of each row.

    Returns:
        dict: ``rows`` of backend, batch, ``median_ms`` and ``p95_ms`` of a
        call, and where they come from.
    """
    config = read_config(files)
    set_test_cfg(config, dict(score_thr=SCORE_THR))
    rows = []

    def add(name: str, backend: Backend, batch: int) -> None:
        found = time_calls(backend, size, batch, calls)
        rows.append(
            dict(
                backend=name,
                batch=batch,
                median_ms=round(float(np.median(found)), 3),
                p95_ms=round(float(np.percentile(found, 95)), 3),
            )
        )

    model, classes = load_detector(files, config, deploy=False)
    plain = TorchBackend(model, bf16=False)
    merged = TorchBackend(merge_branches(copy.deepcopy(model)))
    network = copy.deepcopy(merged.model).cpu()
    with TemporaryDirectory() as folder:
        for batch in BATCHES:
            add('pytorch fp32', plain, batch)
            add('pytorch deploy', merged, batch)
            file = export_onnx(
                network,
                classes,
                files.checkpoint,
                Path(folder) / f'{batch}.onnx',
                size,
                batch,
            )
            test_cfg = config.model.test_cfg
            add('onnxruntime', OnnxBackend(str(file), test_cfg), batch)
    return dict(
        rows=rows,
        config=str(files.config),
        checkpoint=str(files.checkpoint),
        size=list(size),
        score_thr=SCORE_THR,
        calls=calls,
        bf16=merged.bf16,
        device=merged.device,
        threads=torch.get_num_threads(),
        machine=describe_machine(),
        commit=git_commit(),
    )


def format_latency(report: Dict[str, Any]) -> str:
    """Write the table.

    Args:
        report (dict): Of :func:`measure_latency`.

    Returns:
        str: A line a row.
    """
    lines = [f'{"":16s} {"batch":>5s} {"median":>10s} {"p95":>10s}']
    lines += [
        f'{x["backend"]:16s} {x["batch"]:5d} {x["median_ms"]:7.1f} ms '
        f'{x["p95_ms"]:7.1f} ms'
        for x in report['rows']
    ]
    return '\n'.join(lines)
