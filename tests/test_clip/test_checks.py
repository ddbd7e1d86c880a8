"""Settings of CLIPFilterHook: what is out of range is told at once."""

import math

import pytest

from dsym.engine import CLIPFilterHook
from dsym.errors import InputError


@pytest.mark.parametrize(
    'options',
    [
        dict(precision=80),
        dict(prior=60),
        dict(weight=-0.1),
        dict(conf=1.5),
        dict(tau=math.nan),
        dict(tau=[0.5, 25]),
        dict(tau=[0.5, None]),
        dict(tau='auto'),
        dict(tau=True),
        dict(image_tau=math.nan),
        dict(decay=-1.0),
    ],
)
def test_number_out_of_range__is_told_at_once(options):
    ((name, value),) = options.items()
    with pytest.raises(InputError) as error:
        CLIPFilterHook(**options)
    span = 'of 0 or more' if name == 'decay' else 'from 0 to 1'
    assert str(error.value) == (
        f'CLIPFilterHook: {name}={value!r}: give a number {span}'
    )
