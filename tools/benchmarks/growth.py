"""Training steps on noise, by size, batch, classes, processes; long lists."""

import argparse
import os
import socket
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Dict

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from mmengine.logging import MMLogger
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from torch.nn.parallel import DistributedDataParallel

from .alternation import Gate
from .comparison import Results, compare
from .detectors import load_config
from .drawing import paths

# of the series of `growth`, from what NEU-DET is trained with
SIZES = 224, 128, 320, 448, 640
BATCHES = 16, 1, 4, 8, 32
CLASSES = 6, 1, 80, 365
# boxes an image: NEU-DET has 2.3, a batch of noise a few more
BOXES = 4


@dataclass(frozen=True)
class NoiseStep:
    """Forward, backward and optimizer on one batch of noise, over and over.

    Attributes:
        config (str): Path of a YOLOv9 config.
        batch_size (int): Images of a step, of all processes together.
        size (int): Their width and height. Defaults to 224.
        num_classes (int): Defaults to 6.
        processes (int): They share the images, the threads and, by gloo,
            the gradients. Defaults to 1.
        threads (int): Of them together; 0 for as many as there are. Defaults
            to 0.
    """

    config: str
    batch_size: int = 8
    size: int = 224
    num_classes: int = 6
    processes: int = 1
    threads: int = 0

    def __str__(self) -> str:
        threads = f', {self.threads} threads' if self.threads else ''
        return (
            f'{self.batch_size} x {self.size} px, {self.num_classes} classes, '
            f'{self.processes} processes{threads}'
        )

    def __call__(self, gate: Gate) -> None:
        """Train until the gate says stop."""
        if self.threads:
            torch.set_num_threads(self.threads)
        if self.processes == 1:
            self.train(gate)
            return
        with socket.socket() as free:
            free.bind(('127.0.0.1', 0))
            port = free.getsockname()[1]
        threads = max(1, torch.get_num_threads() // self.processes)
        context = mp.get_context('spawn')
        others = [
            context.Process(
                target=self.work, args=(rank, port, threads), daemon=True
            )
            for rank in range(1, self.processes)
        ]
        for process in others:
            process.start()
        try:
            self.work(0, port, threads, gate)
        finally:
            for process in others:
                process.kill()
            dist.destroy_process_group()

    def work(
        self, rank: int, port: int, threads: int, gate=lambda: None
    ) -> None:
        """Train as one of several processes."""
        os.environ.update(MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port))
        torch.set_num_threads(threads)
        # the others wait in the exchange while rank 0 waits for its turn
        dist.init_process_group(
            'gloo',
            rank=rank,
            world_size=self.processes,
            timeout=timedelta(hours=1),
        )
        replace(self, batch_size=self.batch_size // self.processes).train(gate)

    def train(self, gate) -> None:
        """Train on ``batch_size`` images by this process."""
        MMLogger.get_current_instance().setLevel('ERROR')
        torch.manual_seed(0)
        options = {
            'model.bbox_head.head_module.num_classes': self.num_classes,
            'model.use_syncbn': False,  # it has no CPU code
        }
        config = load_config(self.config, options)
        init_default_scope(config.default_scope)
        model = MODELS.build(config.model)
        model.init_weights()
        model = model.to(memory_format=torch.channels_last).train()
        wrapper = build_optim_wrapper(model, config.optim_wrapper)
        step = model
        if self.processes > 1:
            step = DistributedDataParallel(model)
        batch = self.batch()
        while True:
            data = model.data_preprocessor(batch, training=True)
            with wrapper.optim_context(model):
                losses = step(**data, mode='loss')
            wrapper.update_params(model.parse_losses(losses)[0])
            gate()

    def batch(self) -> Dict[str, Any]:
        """Draw what ``mmyolo``'s ``yolov5_collate`` gives.

        Returns:
            dict: ``inputs`` ``(B, 3, size, size)`` and
            ``data_samples.bboxes_labels`` ``(4 B, 6)``: image, class and
            corners of boxes of a tenth to a third of the width.
        """
        images = torch.rand(self.batch_size, 3, self.size, self.size) * 255
        rows = self.batch_size * BOXES
        low = torch.rand(rows, 2) * 0.6
        boxes = torch.cat([low, low + 0.1 + 0.25 * torch.rand(rows, 2)], 1)
        which = torch.arange(rows)
        labels = torch.stack([which // BOXES, which % self.num_classes], 1)
        return dict(
            inputs=images.to(memory_format=torch.channels_last),
            data_samples=dict(
                bboxes_labels=torch.cat([labels, boxes * self.size], 1),
                img_metas=[
                    dict(batch_input_shape=(self.size, self.size))
                    for _ in images
                ],
            ),
        )


def growth(args: argparse.Namespace) -> Results:
    """Time training steps as images, batches, classes, processes grow.

    And samples as lists of unlabelled images do. The first of each series is
    what the others' times are divided by.
    """
    if args.only != 'train':
        yield 'paths', paths(args)
    if args.only == 'paths':
        return
    step = NoiseStep(args.config)
    series = {
        'size': [replace(step, batch_size=4, size=n) for n in SIZES],
        'batch': [replace(step, batch_size=n) for n in BATCHES],
        'classes': [replace(step, num_classes=n) for n in CLASSES],
        # the last is one of the two processes without the other
        'processes': [
            replace(step, batch_size=16),
            replace(step, batch_size=16, processes=2),
            replace(step, threads=1),
        ],
    }
    for name, steps in series.items():
        contenders = {str(step): step for step in steps}
        images = {str(step): step.batch_size for step in steps}
        title = f'training step by {name}'
        yield name, compare(title, contenders, images, args)
