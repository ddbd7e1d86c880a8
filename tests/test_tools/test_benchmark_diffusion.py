"""Both sides of the painter's comparison paint the same."""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2] / 'tools'))

from benchmarks.diffusion import (
    CLASSES,
    PaintPlainly,
    jobs,
    random_diffusion,
)

from dsym.diffusion import DiffusionPainter


def test_paint__as_the_loop_of_diffusers(tmp_path):
    folder = random_diffusion(str(tmp_path))
    painter = DiffusionPainter(folder, CLASSES, num_steps=3, bf16=False)
    plain = PaintPlainly(2, 3, painter.guidance)
    plain.load(folder)
    work = jobs(2, painter.size)
    ours = np.stack(painter.paint(work))
    peer = np.stack([plain.paint(x)[0, 0].numpy() for x in work])[..., None]
    inside = np.stack([x.window for x in work]) != ours
    # all of the box but what happens to be of the same grey
    assert inside.reshape(2, -1).sum(1).min() > 0.9 * 64 * 64
    assert np.abs((peer + 1) * 127.5 - ours).max() < 0.6
