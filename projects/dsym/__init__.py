"""DSYM: semi-supervised defect detection for the OpenMMLab toolbox.

Importing the package registers every component in MMEngine's root
registries, so ``custom_imports = dict(imports=['dsym'])`` is all a config of
any ``default_scope`` needs.
"""

from . import compat  # isort: skip  # must precede every import of mmyolo
from . import (
    clip,
    datasets,
    diffusion,
    engine,
    evaluation,
    models,
    visualization,
    weights,
)
from .version import __version__

__all__ = [
    '__version__',
    'clip',
    'compat',
    'datasets',
    'diffusion',
    'engine',
    'evaluation',
    'models',
    'visualization',
    'weights',
]
