"""Conditional diffusion: painting defects."""

from .condition_encoder import DefectConditionEncoder
from .conditional_diffusion import ConditionalDiffusion

__all__ = ['ConditionalDiffusion', 'DefectConditionEncoder']
