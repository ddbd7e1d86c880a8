"""Latency is taken in turns, on images that a detector sees."""

import pytest
import torch
from mmengine.structures import InstanceData

from dsym.datasets.steel_textures import IMAGE_SIZE
from dsym.errors import InputError
from dsym.inference import latency
from dsym.inference.model import read_config, resolve_model
from dsym.inference.predictor import image_pipeline


def test_turns__call_by_call_and_the_first_ones_do_not_count(
    predictor, monkeypatch
):
    monkeypatch.setattr(latency, 'SETTLE', 0)
    packed = latency.steel_inputs(predictor.pipeline, (64, 64))
    order = []

    def backend(name, boxes):
        def detect(inputs, samples):
            ids = [x.metainfo['img_id'] for x in samples]
            order.append((name, ids))
            return [InstanceData(labels=torch.zeros(boxes)) for _ in inputs]

        return detect

    ways = dict(a=backend('a', 2), b=backend('b', 0))
    timings = latency.time_in_turns(ways, packed, batch=3, calls=2)
    # eight images, three a call, round and round
    ids = [[0, 1, 2], [3, 4, 5], [6, 7, 0], [1, 2, 3], [4, 5, 6]]
    assert latency.WARM_UP + 2 == len(ids)
    assert order == [(name, i) for i in ids for name in 'ab']
    assert [len(x.milliseconds) for x in timings.values()] == [2, 2]
    assert [x.boxes for x in timings.values()] == [2 * 3 * 2, 0]


def test_images__another_size_than_the_pipeline_gives(tiny):
    pipeline = image_pipeline(read_config(resolve_model(*tiny)))
    message = f'{IMAGE_SIZE}x{IMAGE_SIZE} px to 64x64, not to 96x64: give '
    with pytest.raises(InputError, match=f'{message}--size 64 64'):
        latency.steel_inputs(pipeline, (96, 64))
