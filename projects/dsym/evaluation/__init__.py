"""Metrics."""

from .defect_metric import DefectMetric
from .pseudo_label_audit import PseudoLabelAudit
from .region_grade_metric import RegionGradeMetric

__all__ = ['DefectMetric', 'PseudoLabelAudit', 'RegionGradeMetric']
