"""A run or a study in one HTML page."""

from .build import Pictures, run_report, study_report

__all__ = ['Pictures', 'run_report', 'study_report']
