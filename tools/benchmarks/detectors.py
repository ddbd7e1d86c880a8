"""Training steps and inference of detectors, as contenders."""

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, Optional

import torch
from mmdet.structures import DetDataSample
from mmengine.config import Config, ConfigDict
from mmengine.hooks import Hook
from mmengine.registry import MODELS, init_default_scope
from mmengine.runner import Runner
from peers.official_training import OfficialTraining
from peers.official_yolov9 import import_official
from torch import Tensor, nn

from dsym.errors import InputError
from dsym.inference.model import merge_branches
from dsym.inference.predictor import TorchBackend

from .alternation import Gate

Predict = Callable[[Tensor, list], Any]


def load_config(path: str, options: Dict[str, Any]) -> Config:
    """Load a config that trains without end and saves nothing."""
    config = Config.fromfile(path)
    config.merge_from_dict(options)
    config.work_dir = tempfile.mkdtemp(prefix='dsym-benchmark-')
    config.default_hooks.update(checkpoint=None)
    for name in ('val', 'test'):
        for part in ('dataloader', 'evaluator', 'cfg'):
            config[f'{name}_{part}'] = None
    config.train_cfg.val_interval = 10**6
    config.log_level = 'WARNING'
    return config


def used_detector(config: Config) -> ConfigDict:
    """What of a config's model is used in inference.

    Args:
        config (Config): Of a detector, or of a student and a teacher.

    Returns:
        ConfigDict: One detector, without an auxiliary branch.
    """
    detector = config.model.get('detector', config.model)
    if 'aux_head_module' in detector.get('bbox_head', {}):
        detector.backbone.with_aux = False
        detector.neck.with_aux = False
        detector.bbox_head.aux_head_module = None
    return detector


class GateHook(Hook):
    """Stop after each training step until the next turn.

    Args:
        gate (Gate): What is called.
    """

    priority = 'LOWEST'

    def __init__(self, gate: Gate) -> None:
        self.gate = gate

    def after_train_iter(self, *args, **kwargs) -> None:
        """Call the gate."""
        self.gate()


@dataclass
class Training:
    """Training of a config until the gate says stop.

    Attributes:
        config (str): Path of our config.
        options (dict): Its overrides.
    """

    config: str
    options: Dict[str, Any] = field(default_factory=dict)

    def __call__(self, gate: Gate) -> None:
        """Train."""
        self.train(load_config(self.config, self.options), gate)

    def train(self, config: Config, gate: Gate) -> None:
        """Train and call the gate after each step."""
        raise NotImplementedError


class TrainToolbox(Training):
    """Training by MMEngine's own runner, hooks included."""

    def train(self, config: Config, gate: Gate) -> None:
        """Train by the runner."""
        runner = Runner.from_cfg(config)
        runner.register_hook(GateHook(gate))
        runner.train()


@dataclass
class TrainOfficial(Training):
    """Training by the official code on the same config's data and plan.

    Attributes:
        fast (bool): With our channels-last order and bfloat16.
    """

    fast: bool = False

    def train(self, config: Config, gate: Gate) -> None:
        """Train by the official code."""
        run = OfficialTraining(config, Path(config.work_dir), self.fast)
        for epoch in range(run.plan['epochs']):
            run.run_epoch(epoch, gate)


@dataclass
class InferToolbox:
    """Boxes of a re-parameterised, fused model of a config, with its NMS.

    Attributes:
        config (str): Path of the config.
        batch_size (int): Images a call.
        size (int): Their width and height. Defaults to 224.
        options (dict): Overrides of the config.
    """

    config: str
    batch_size: int
    size: int = 224
    options: Dict[str, Any] = field(default_factory=dict)

    @torch.inference_mode()
    def __call__(self, gate: Gate) -> None:
        """Predict until the gate says stop."""
        config = load_config(self.config, self.options)
        init_default_scope(config.default_scope)
        model = MODELS.build(used_detector(config))
        model.init_weights()
        model.eval()
        predict = self.prepare(merge_branches(model))
        images = torch.rand(self.batch_size, 3, self.size, self.size)
        images = images.to(memory_format=torch.channels_last)
        shape = (self.size, self.size)
        meta = dict(
            batch_input_shape=shape,
            img_shape=shape,
            ori_shape=shape,
            scale_factor=(1.0, 1.0),
        )
        samples = [DetDataSample(metainfo=meta) for _ in images]
        while True:
            predict(images, samples)
            gate()

    def prepare(self, model: nn.Module) -> Predict:
        """What is called with images and samples."""
        return model.predict


@dataclass
class InferDeployed(InferToolbox):
    """The same as ``tools/predict.py`` runs it.

    Attributes:
        bf16 (bool, optional): Defaults to None, where the processor has
            units for it.
    """

    bf16: Optional[bool] = None

    def prepare(self, model: nn.Module) -> Predict:
        """Fuse convolutions and their activations, cast to bfloat16."""
        backend = TorchBackend(model, self.bf16, fuse=True)

        def predict(images: Tensor, samples: list) -> None:
            with backend.autocast():
                backend.model.predict(images, samples)

        return predict


def official_twin(path: str, batch_size: int) -> 'InferOfficial':
    """The official code's inference of the same size and classes.

    Args:
        path (str): Our config.
        batch_size (int): Images a call.

    Returns:
        InferOfficial: The contender.

    Raises:
        InputError: If it is no YOLOv9.
    """
    config = Config.fromfile(path)
    detector = used_detector(config)
    if detector.backbone.type != 'YOLOv9Backbone':
        raise InputError(
            f'{path}: model.backbone is {detector.backbone.type}, which the '
            'official code does not have: give a config with YOLOv9Backbone'
        )
    num_classes = detector.bbox_head.head_module.num_classes
    return InferOfficial(
        detector.backbone.arch, batch_size, num_classes=num_classes
    )


@dataclass
class InferOfficial:
    """Boxes of the official code's fused inference graph, with its NMS.

    Attributes:
        arch (str): Size: t, s, m, c or e.
        batch_size (int): Images a call.
        size (int): Their width and height. Defaults to 224.
        num_classes (int): Defaults to 6.
    """

    arch: str
    batch_size: int
    size: int = 224
    num_classes: int = 6

    @torch.inference_mode()
    def __call__(self, gate: Gate) -> None:
        """Predict until the gate says stop."""
        root = import_official()
        from models.yolo import Model
        from utils.general import non_max_suppression

        graph = root / 'models' / 'detect' / f'gelan-{self.arch}.yaml'
        model = Model(str(graph), ch=3, nc=self.num_classes).eval().fuse()
        images = torch.rand(self.batch_size, 3, self.size, self.size)
        while True:
            # the boxes, beside features for losses: NMS given both would take
            # the first image's channels for images
            boxes, _ = model(images)
            non_max_suppression(
                boxes,
                conf_thres=0.001,
                iou_thres=0.7,
                multi_label=True,
                max_det=300,
            )
            gate()
