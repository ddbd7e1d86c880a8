"""Time a detector in PyTorch and in onnxruntime, image to detections."""

import copy
import time
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Dict, List, Sequence, Tuple

import numpy as np
import torch
from mmcv.transforms import Compose

from ..datasets.steel_render import render_steel_image
from ..errors import InputError
from ..provenance import describe_machine, git_commit
from .model import (
    ModelFiles,
    load_detector,
    merge_branches,
    read_config,
    set_test_cfg,
)
from .onnx_backend import OnnxBackend, file_hash
from .onnx_export import export_onnx
from .predictor import Backend, TorchBackend, image_pipeline

BATCHES = (1, 8)
IMAGES = 8  # of SteelSynth: all six classes
SCORE_THR = 0.25  # the default of tools/predict.py
WARM_UP = 3  # calls of each way that are not counted
# Seconds before a call: idle threads of OpenMP and onnxruntime go on looking
# for work for milliseconds, which the next way would lose.
SETTLE = 0.02


@dataclass
class Timing:
    """What was measured of one way.

    Attributes:
        milliseconds (list[float]): Of each call.
        boxes (int): Detections of all of them.
    """

    milliseconds: List[float] = field(default_factory=list)
    boxes: int = 0


def steel_inputs(pipeline: Compose, size: Tuple[int, int]) -> List[dict]:
    """Images of SteelSynth as the pipeline gives them.

    Args:
        pipeline (Compose): Of :func:`image_pipeline`.
        size (tuple[int]): Height and width that it must give.

    Returns:
        list[dict]: ``inputs`` and ``data_samples`` of each.

    Raises:
        InputError: If it gives another size.
    """
    packed = []
    for index in range(IMAGES):
        grey = render_steel_image(0, index).image
        image = np.repeat(grey[..., None], 3, axis=2)
        packed.append(pipeline(dict(img=image, img_id=index)))
    given = tuple(packed[0]['inputs'].shape[1:])
    if given != tuple(size):
        raise InputError(
            f'--latency: the test pipeline brings {image.shape[0]}x'
            f'{image.shape[1]} px to {given[0]}x{given[1]}, not to '
            f'{size[0]}x{size[1]}: give --size {given[0]} {given[1]}'
        )
    return packed


def time_in_turns(
    backends: Dict[str, Backend],
    packed: Sequence[dict],
    batch: int,
    calls: int,
) -> Dict[str, Timing]:
    """Time calls from pixels after the pipeline to detections.

    The ways take turns call by call, so that a machine that slows down slows
    all of them.

    Args:
        backends (dict[str, Backend]): The ways by name.
        packed (Sequence[dict]): Of :func:`steel_inputs`; a call takes the
            next ones, round and round.
        batch (int): Images a call.
        calls (int): How many of each way are timed.

    Returns:
        dict[str, Timing]: By name.
    """
    found = {name: Timing() for name in backends}
    for call in range(WARM_UP + calls):
        first = call * batch
        images = [packed[(first + i) % len(packed)] for i in range(batch)]
        for name, backend in backends.items():
            # results are written into the samples
            samples = [x['data_samples'].clone() for x in images]
            time.sleep(SETTLE)
            begin = time.perf_counter()
            results = backend([x['inputs'] for x in images], samples)
            spent = 1000 * (time.perf_counter() - begin)
            if call >= WARM_UP:
                found[name].milliseconds.append(spent)
                found[name].boxes += sum(map(len, results))
    return found


def measure_latency(
    files: ModelFiles,
    size: Tuple[int, int],
    calls: int,
) -> Dict[str, Any]:
    """Compare the ways to run a model.

    ``pytorch fp32`` is the model as it was trained; ``pytorch deploy`` has
    branches, norms and activations merged, channels last, and bfloat16 where
    that is faster, as ``tools/predict.py`` runs it.

    Args:
        files (ModelFiles): Of the model.
        size (tuple[int]): Height and width.
        calls (int): Timed calls of each row.

    Returns:
        dict: ``rows`` of backend, batch, ``median_ms`` and ``p95_ms`` of a
        call, ``boxes`` found in an image on average, and where they come
        from.
    """
    config = read_config(files)
    set_test_cfg(config, dict(score_thr=SCORE_THR))
    packed = steel_inputs(image_pipeline(config), size)
    model, classes = load_detector(files, config, deploy=False)
    plain = TorchBackend(model, bf16=False)
    network = merge_branches(copy.deepcopy(model))
    merged = TorchBackend(copy.deepcopy(network), fuse=True)
    network.cpu()
    rows = []
    with TemporaryDirectory() as folder:
        for batch in BATCHES:
            file = export_onnx(
                network,
                classes,
                files.checkpoint,
                Path(folder) / f'{batch}.onnx',
                size,
                batch,
            )
            ways = {
                'pytorch fp32': plain,
                'pytorch deploy': merged,
                'onnxruntime': OnnxBackend(str(file), config.model.test_cfg),
            }
            timings = time_in_turns(ways, packed, batch, calls)
            for name, timing in timings.items():
                spent = timing.milliseconds
                rows.append(
                    dict(
                        backend=name,
                        batch=batch,
                        median_ms=round(float(np.median(spent)), 3),
                        p95_ms=round(float(np.percentile(spent, 95)), 3),
                        boxes=round(timing.boxes / (calls * batch), 3),
                    )
                )
    return dict(
        rows=rows,
        config=files.config.name,
        checkpoint=files.checkpoint.name,
        sha256=file_hash(files.checkpoint),
        size=list(size),
        images=f'{IMAGES} of SteelSynth',
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
        str: A line a row, and how they were measured.
    """
    lines = [
        f'{"":16s} {"batch":>5s} {"median":>10s} {"p95":>10s} {"boxes":>6s}'
    ]
    lines += [
        f'{x["backend"]:16s} {x["batch"]:5d} {x["median_ms"]:7.1f} ms '
        f'{x["p95_ms"]:7.1f} ms {x["boxes"]:6.2f}'
        for x in report['rows']
    ]
    lines.append(
        f'{report["calls"]} calls in turns on {report["images"]}, '
        f'{report["device"]}, {report["threads"]} threads; deploy in '
        f'{"bfloat16" if report["bf16"] else "float32"}; boxes an image, '
        f'scores from {report["score_thr"]}'
    )
    return '\n'.join(lines)
