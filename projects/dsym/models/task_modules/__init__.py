from .class_thresholds import ClassThresholds
from .pseudo_selectors import MixtureThreshold, ScoreThreshold, TwoThresholds
from .sparse_task_aligned_assigner import SparseTaskAlignedAssigner

__all__ = [
    'ClassThresholds',
    'MixtureThreshold',
    'ScoreThreshold',
    'SparseTaskAlignedAssigner',
    'TwoThresholds',
]
