"""Curves of pseudo-labels: how many there are and how many are right."""

import math
from pathlib import Path
from typing import Any, Callable, Dict, Sequence, Union

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..evaluation.pseudo_label_audit import last_stage
from .style import WIDTH, class_styles, save_figure

# Box counts above which the axis is logarithmic: a detector predicts hundreds
# of boxes, of which a handful is selected.
LINEAR_BOXES = 10


def pseudo_label_figure(
    entries: Sequence[Dict[str, Any]], class_names: Sequence[str]
) -> Figure:
    """Draw how pseudo-labels develop, a line a stage.

    Args:
        entries (Sequence[dict]): Content of a ``pseudo_labels.json`` of
            ``PseudoLabelAuditHook``.
        class_names (Sequence[str]): Classes of the last panel, the precision
            of the last stage.

    Returns:
        Figure: Four panels, 1000 x 750 px when saved.

    Raises:
        ValueError: If there are no entries.
    """
    if not entries:
        raise ValueError(
            'no pseudo-labels to draw yet; train until an epoch has some'
        )
    figure = Figure(figsize=(WIDTH, 7.5), layout='constrained')
    panels = figure.subplots(2, 2).ravel()
    stages = list(
        dict.fromkeys(stage for entry in entries for stage in entry['stages'])
    )
    styles = class_styles(stages)
    for axes, key, label in (
        (panels[0], 'precision', 'share of boxes true'),
        (panels[1], 'recall', 'share of truth boxes found'),
        (panels[2], 'boxes_per_image', 'boxes'),
    ):
        for stage in stages:
            _plot(
                axes,
                entries,
                stage,
                lambda figures, key=key: figures[key],
                label=stage,
                **styles[stage],
            )
        axes.set(title=key.capitalize().replace('_', ' '), ylabel=label)
    counts = [y for line in panels[2].get_lines() for y in line.get_ydata()]
    if max(counts) > LINEAR_BOXES:
        panels[2].set_yscale('symlog', linthresh=1)
    panels[2].set_ylim(bottom=0)

    last = last_stage(stages)
    styles = class_styles(class_names)
    for name in class_names:
        _plot(
            panels[3],
            entries,
            last,
            lambda figures, name=name: figures['classes'][name]['precision'],
            label=name,
            **styles[name],
        )
    panels[3].set(title=f'Precision of {last} boxes', ylabel='share true')
    for axes in panels:
        axes.set_xlabel('epoch')
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend(fontsize='small')
    for axes in (panels[0], panels[1], panels[3]):
        axes.set_ylim(0, 1.02)
    figure.suptitle(
        'Pseudo-labels against the hidden truth at IoU 0.5', fontsize=11
    )
    return figure


def _plot(
    axes: Axes,
    entries: Sequence[Dict[str, Any]],
    stage: str,
    figure_of: Callable[[Dict[str, Any]], Union[float, None]],
    **style: str,
) -> None:
    """Plot a stage's figure over the epochs, with gaps where it is null."""
    points = [
        (entry['epoch'], figure_of(entry['stages'][stage]))
        for entry in entries
        if stage in entry['stages']
    ]
    axes.plot(
        [epoch for epoch, _ in points],
        [math.nan if value is None else value for _, value in points],
        marker='o' if len(points) < 20 else None,
        markersize=3,
        **style,
    )


def plot_pseudo_labels(
    entries: Sequence[Dict[str, Any]],
    path: Union[str, Path],
    class_names: Sequence[str],
) -> Path:
    """Save the figure of :func:`pseudo_label_figure`.

    Args:
        entries (Sequence[dict]): Content of a ``pseudo_labels.json``.
        path (str or Path): A name with an image suffix.
        class_names (Sequence[str]): Classes to show.

    Returns:
        Path: The file.
    """
    return save_figure(pseudo_label_figure(entries, class_names), path)
