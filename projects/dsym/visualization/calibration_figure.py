"""How CLIP scores regions of each kind, and where the thresholds stand."""

import math
from typing import Dict, Sequence

import numpy as np
from matplotlib.figure import Figure

from .style import WIDTH, class_styles

COLUMNS = 3
PANEL_HEIGHT = 2.8  # inches


def calibration_figure(
    scores: Sequence[Dict[str, Sequence[float]]],
    tau: Sequence[float],
    auroc: Sequence[float],
    class_names: Sequence[str],
) -> Figure:
    """Draw a panel a class: the share of regions above each score.

    Args:
        scores (Sequence[dict]): Of each class, scores by kind of region.
        tau (Sequence[float]): Thresholds; 0 for none.
        auroc (Sequence[float]): Of each class.
        class_names (Sequence[str]): Class names.

    Returns:
        Figure: 1000 px wide when saved.
    """
    rows = math.ceil(len(class_names) / COLUMNS)
    figure = Figure(
        figsize=(WIDTH, PANEL_HEIGHT * rows + 0.5), layout='constrained'
    )
    panels = figure.subplots(
        rows, COLUMNS, sharex=True, sharey=True, squeeze=False
    ).ravel()
    styles = class_styles([*scores[0]])
    for axes, by_kind, threshold, area, name in zip(
        panels, scores, tau, auroc, class_names
    ):
        for kind, values in by_kind.items():
            values = np.sort(np.asarray(values, dtype=float))
            if len(values):
                above = np.arange(len(values), 0, -1) / len(values)
                axes.step(values, above, label=kind, **styles[kind])
        if threshold:
            axes.axvline(threshold, color='0.4', linewidth=1)
        axes.set_title(f'{name}, AUROC {area:.2f}', fontsize=10)
    for axes in panels[len(class_names) :]:
        axes.set_axis_off()
    for axes in panels[-COLUMNS:]:
        axes.set_xlabel('score')
    for axes in panels[::COLUMNS]:
        axes.set_ylabel('share above')
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(
        handles, labels, loc='outside lower center', ncols=4, frameon=False
    )
    return figure
