"""Metrics."""

from .defect_metric import DefectMetric
from .pseudo_label_audit import PseudoLabelAudit

__all__ = ['DefectMetric', 'PseudoLabelAudit']
