"""The weight of the unsupervised losses over the steps."""

import pytest

from dsym.models.detectors.ramp import gaussian_ramp


def test_ramp__gaussian_over_its_steps():
    # exp(-5), exp(-5 * 9 / 16), exp(-5 / 4), exp(-5 / 16)
    expected = [0.006738, 0.060055, 0.286505, 0.731616, 1, 1]
    found = [gaussian_ramp(step, 4) for step in range(6)]
    assert found == pytest.approx(expected, abs=1e-6)


def test_no_steps__at_once():
    assert gaussian_ramp(0, 0) == 1
