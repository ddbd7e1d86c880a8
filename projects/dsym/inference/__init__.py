"""Detectors at work: sources of images, predictors, writers of results."""

from .model import ModelFiles, load_detector, read_config, resolve_model
from .predictor import Predictor, TorchBackend, build_predictor

__all__ = [
    'ModelFiles',
    'Predictor',
    'TorchBackend',
    'build_predictor',
    'load_detector',
    'read_config',
    'resolve_model',
]
