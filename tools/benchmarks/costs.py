"""What a detector of a config is made of and computes."""

import argparse
from typing import Dict

import torch
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import MODELS, init_default_scope
from torch.utils.flop_counter import FlopCounterMode

from .comparison import CONFIGS, Results, compare
from .detectors import InferToolbox, used_detector

# By their names in docs/paper_tables.yaml; the first is what others' times are
# divided by.
METHODS = {
    'YOLOv9-t': 'yolov9/yolov9-t_1xb16-200e_neu-det-labeled20',
    'DSYM: YOLOv9-t, MambaHead': 'dsym/dsym_yolov9-t_1xb32-60e_neu-det-semi20',
    'DSYM: YOLOv9-t, plain head': (
        'dsym/dsym_yolov9-t_1xb24-6e-clip_neu-det-semi20'
    ),
    'YOLOv8-n': 'baselines/yolov8-n_1xb16-200e_neu-det-labeled20',
    'YOLOv7-tiny': 'baselines/yolov7-tiny_1xb16-200e_neu-det-labeled20',
    'YOLOv3-D53': 'baselines/yolov3-d53_1xb16-200e_neu-det-labeled20',
    'TOOD-R50': 'baselines/tood-r50_1xb16-200e_neu-det-labeled20',
    'STD2: Cascade R-CNN, Swin-L': (
        'baselines/std2-swin-l_1xb16-200e_neu-det-labeled20'
    ),
    'SoftTeacher: Faster R-CNN, R50': (
        'baselines/soft-teacher_faster-rcnn-r50_1xb16-4.2k_neu-det-semi20'
    ),
}


@torch.inference_mode()
def count_costs(config: str, size: int = 224) -> Dict[str, float]:
    """Count the parameters and operations of inference.

    Args:
        config (str): Path of a detector's config, or of a student's and a
            teacher's, of which one counts.
        size (int): Width and height of the image. Defaults to 224.

    Returns:
        dict[str, float]: ``parameters`` without an auxiliary branch, before
        re-parameterisation; ``gflops``, twice the multiply-adds of
        convolutions and matrix products. Selective scans and mmcv's own
        operators are not counted.
    """
    content = Config.fromfile(config)
    init_default_scope(content.default_scope)
    model = MODELS.build(used_detector(content)).eval()
    shape = (size, size)
    meta = dict(
        batch_input_shape=shape,
        img_shape=shape,
        ori_shape=shape,
        scale_factor=(1.0, 1.0),
    )
    with FlopCounterMode(display=False) as counter:
        model.predict(
            torch.zeros(1, 3, *shape), [DetDataSample(metainfo=meta)]
        )
    return dict(
        parameters=sum(x.numel() for x in model.parameters()),
        gflops=counter.get_total_flops() / 1e9,
    )


def methods(args: argparse.Namespace) -> Results:
    """Inference of all methods of the paper's table 5, and their costs."""
    paths = {name: str(CONFIGS / f'{x}.py') for name, x in METHODS.items()}
    rows = compare(
        'inference, batch 1, 224 px',
        {name: InferToolbox(path, 1) for name, path in paths.items()},
        1,
        args,
    )
    for name, path in paths.items():
        rows[name].update(count_costs(path))
        print(
            f'{name:32s} {rows[name]["parameters"] / 1e6:6.1f} M parameters, '
            f'{rows[name]["gflops"]:6.2f} GFLOPs'
        )
    yield 'infer_1', rows
