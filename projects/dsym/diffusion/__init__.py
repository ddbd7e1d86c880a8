"""Conditional diffusion: painting defects."""

from .condition_encoder import DefectConditionEncoder
from .conditional_diffusion import ConditionalDiffusion
from .layout import DefectLayout
from .painters import CopyPastePainter, DiffusionPainter
from .pipeline_painter import PipelinePainter
from .pretrained import load_diffusion, save_diffusion
from .quality_gate import QualityGate

__all__ = [
    'ConditionalDiffusion',
    'CopyPastePainter',
    'DefectConditionEncoder',
    'DefectLayout',
    'DiffusionPainter',
    'PipelinePainter',
    'QualityGate',
    'load_diffusion',
    'save_diffusion',
]
