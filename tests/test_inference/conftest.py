"""Small detectors, written once."""

import pytest
from dataset_files import session_cache  # noqa: F401
from tiny_detector import write_detector

from dsym.inference import build_predictor, resolve_model


@pytest.fixture(scope='session')
def tiny(tmp_path_factory):
    return write_detector(tmp_path_factory.mktemp('plain') / 'run')


@pytest.fixture(scope='session')
def tiny_mamba(tmp_path_factory):
    folder = tmp_path_factory.mktemp('mamba') / 'run'
    return write_detector(folder, mamba=True)


@pytest.fixture(scope='session')
def predictor(tiny):
    return build_predictor(resolve_model(*tiny), 0.0, bf16=False)
