"""Figures."""

from .calibration_figure import calibration_figure
from .curves import (
    confidence_figure,
    load_json,
    pr_figure,
    read_scalars,
    training_figure,
    training_minutes,
)
from .detections import gallery_figure
from .pseudo_label_curves import plot_pseudo_labels, pseudo_label_figure
from .style import class_styles, save_figure

__all__ = [
    'calibration_figure',
    'class_styles',
    'confidence_figure',
    'gallery_figure',
    'load_json',
    'plot_pseudo_labels',
    'pr_figure',
    'pseudo_label_figure',
    'read_scalars',
    'save_figure',
    'training_figure',
    'training_minutes',
]
