"""Reading images of a data set with synthetic ones, as a contender."""

import tempfile
from dataclasses import dataclass

import numpy as np
import torch
from mmengine.registry import DATASETS

from dsym.datasets.diffusion_augment import find_augment

from .alternation import Gate
from .detectors import load_config


@dataclass
class Load:
    """Images of a training set one by one, through the whole pipeline.

    Attributes:
        config (str): With a ``DiffusionAugment``. Copies are pasted instead
            of painting, in place of true defects and without a gate: as large
            images with as many boxes as the real ones, in seconds.
        count (int): Images of a step.
        synthetic (bool): With the synthetic images beside the real ones, which
            also make mosaics; otherwise the real ones alone.
    """

    config: str
    count: int
    synthetic: bool

    def __call__(self, gate: Gate) -> None:
        """Read until the gate says stop."""
        torch.set_num_threads(1)
        wrapper = find_augment(load_config(self.config, {}))
        with tempfile.TemporaryDirectory() as folder:
            settings = dict(
                wrapper,
                layout=dict(background='replace'),
                painter=dict(type='CopyPastePainter'),
                gate=None,
                cache_dir=folder,
                num_workers=0,
            )
            augment = DATASETS.build(settings)
            dataset = augment if self.synthetic else augment.real_dataset
            rng = np.random.default_rng(0)
            while True:
                for i in rng.integers(len(dataset), size=self.count):
                    dataset[int(i)]
                gate()
