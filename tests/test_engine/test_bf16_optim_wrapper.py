"""BF16OptimWrapper autocasts the forward pass and nothing else."""

import re
from pathlib import Path

import pytest
import torch
from mmengine.registry import OPTIM_WRAPPERS
from torch import nn

from dsym.bf16 import faster_in_bf16


def build(model, **kwargs):
    """A wrapper around SGD with learning rate 1."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1.0)
    return OPTIM_WRAPPERS.build(
        dict(type='BF16OptimWrapper', optimizer=optimizer, **kwargs)
    )


@pytest.mark.parametrize('enabled', [True, False])
def test_forward_is_bfloat16_and_the_step_float32(enabled):
    model = nn.Conv2d(1, 1, 1, bias=False)
    model.weight.data.fill_(1.0)
    wrapper = build(model, enabled=enabled)
    # 1 + 2^-10 is a float32 and rounds to 1 in the 8 bits of a bfloat16
    image = torch.full((1, 1, 1, 1), 1 + 2**-10)
    with wrapper.optim_context(model):
        out = model(image)
    assert out.dtype == (torch.bfloat16 if enabled else torch.float32)
    assert out.item() == (1.0 if enabled else 1 + 2**-10)
    assert model(image).dtype == torch.float32  # outside
    wrapper.update_params(out.float().sum())
    # dL/dw = x, learning rate 1
    assert model.weight.dtype == torch.float32
    assert model.weight.item() == (0.0 if enabled else -(2**-10))


def test_auto_follows_the_processor():
    info = Path('/proc/cpuinfo')
    if not info.is_file() or not re.search(r'^flags', info.read_text(), re.M):
        pytest.skip('no x86 Linux to read the flags of the processor from')
    flags = set(info.read_text().split('flags', 1)[1].splitlines()[0].split())
    expected = 'amx_tile' in flags
    assert faster_in_bf16('cpu') == expected
    wrapper = build(nn.Linear(1, 1))
    if wrapper.device == 'cpu':
        assert wrapper.enabled == expected


def test_accumulated_gradients_are_those_of_mmengine():
    """Two half steps give the float32 step of the mean loss."""
    model = nn.Linear(2, 1, bias=False)
    model.weight.data.zero_()
    wrapper = build(model, enabled=True, accumulative_counts=2)
    wrapper.initialize_count_status(model, 0, 2)
    for x in ([1.0, 0.0], [0.0, 4.0]):
        with wrapper.optim_context(model):
            loss = model(torch.tensor([x])).float().sum()
        wrapper.update_params(loss)
    assert model.weight.tolist() == [[-0.5, -2.0]]


def test_wrong_value__one_line():
    with pytest.raises(ValueError, match="give True, False or 'auto'"):
        build(nn.Linear(1, 1), enabled='fast')
