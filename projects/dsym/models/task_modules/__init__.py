from .sparse_task_aligned_assigner import SparseTaskAlignedAssigner

__all__ = ['SparseTaskAlignedAssigner']
