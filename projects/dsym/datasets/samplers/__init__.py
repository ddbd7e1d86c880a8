"""Samplers."""

from .permuted_sampler import PermutedSampler
from .seeded_sampler import SeededIndex, SeededSampler

__all__ = ['PermutedSampler', 'SeededIndex', 'SeededSampler']
