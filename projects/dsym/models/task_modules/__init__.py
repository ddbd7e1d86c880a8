from .pseudo_selectors import MixtureThreshold, ScoreThreshold, TwoThresholds
from .sparse_task_aligned_assigner import SparseTaskAlignedAssigner

__all__ = [
    'MixtureThreshold',
    'ScoreThreshold',
    'SparseTaskAlignedAssigner',
    'TwoThresholds',
]
