"""The charts of the report, each a panel that a phone can show."""

import math
import textwrap
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

from matplotlib.figure import Figure

from ...evaluation.study_records import Spread
from ..style import class_styles
from .svg import panel

MEAN_STYLE = dict(color='black', linewidth=2.5)
FEW_POINTS = 20  # up to which each gets a mark
BAR_INCHES, GAP_INCHES = 0.27, 0.38
# Of a name above its bars: 48 letters of 10 pt are about 4.1 of 4.9 inches.
NAME_CHARS, LINE_INCHES = 48, 0.17
LABEL_ROOM = 1.3  # of the longest bar, for the number beside it


class Line(NamedTuple):
    """A line of a chart.

    Attributes:
        name (str): What the legend calls it.
        x (Sequence[float]): Places.
        y (Sequence[float or None]): Values; None leaves a gap.
        style (dict): ``color`` and, if wanted, ``linestyle``, ``linewidth``.
    """

    name: str
    x: Sequence[float]
    y: Sequence[Optional[float]]
    style: dict


class Bar(NamedTuple):
    """A bar of an ablation.

    Attributes:
        run (str): What it belongs to.
        series (str): Which of the run's bars.
        spread (Spread): Mean and deviation, as shares.
    """

    run: str
    series: str
    spread: Spread


def line_chart(
    lines: Sequence[Line],
    xlabel: str,
    ylabel: str,
    ylim: Optional[Tuple[float, float]] = None,
    xlim: Optional[Tuple[float, float]] = None,
    marked_x: Optional[float] = None,
) -> Figure:
    """Draw lines.

    Args:
        lines (Sequence[Line]): What to draw.
        xlabel (str): Of the x axis.
        ylabel (str): Of the y axis.
        ylim (tuple[float, float], optional): Defaults to None, from 0.
        xlim (tuple[float, float], optional): Defaults to None.
        marked_x (float, optional): Where a vertical line stands. Defaults
            to None.

    Returns:
        Figure: One panel without a legend.
    """
    figure, axes = panel(xlabel, ylabel)
    for line in lines:
        axes.plot(
            line.x,
            [math.nan if y is None else y for y in line.y],
            marker='o' if len(line.x) < FEW_POINTS else None,
            markersize=3.5,
            **line.style,
        )
    if marked_x is not None:
        axes.axvline(marked_x, color='black', linewidth=1, linestyle=':')
    if ylim:
        axes.set_ylim(*ylim)
    else:
        axes.set_ylim(bottom=0)
    if xlim:
        axes.set_xlim(*xlim)
    else:
        axes.xaxis.get_major_locator().set_params(integer=True, nbins=6)
    axes.ticklabel_format(axis='y', style='sci', scilimits=(-2, 5))
    return figure


def class_lines(
    curves: Dict[str, Optional[Sequence[float]]],
    x: Sequence[float],
    classes: Sequence[str],
) -> List[Line]:
    """Lines of the classes and of their mean.

    Args:
        curves (dict[str, Sequence[float]]): By class; None without truth.
        x (Sequence[float]): Where they are sampled.
        classes (Sequence[str]): All classes, which give the colours.

    Returns:
        list[Line]: Those with a curve, the mean last.
    """
    styles = class_styles(classes)
    shown = {name: y for name, y in curves.items() if y is not None}
    lines = [Line(name, x, y, styles[name]) for name, y in shown.items()]
    if shown:
        mean = [sum(ys) / len(ys) for ys in zip(*shown.values())]
        lines.append(Line('mean of classes', x, mean, MEAN_STYLE))
    return lines


def bar_chart(bars: Sequence[Bar], xlabel: str) -> Figure:
    """Draw bars of runs, with their deviation over seeds.

    Args:
        bars (Sequence[Bar]): Those of a run one after the other.
        xlabel (str): Of the axis in percent.

    Returns:
        Figure: One panel; a run's name stands above its bars.
    """
    series = list(dict.fromkeys(bar.series for bar in bars))
    styles = class_styles(series)
    runs = list(dict.fromkeys(bar.run for bar in bars))
    names = {run: textwrap.wrap(run, NAME_CHARS) for run in runs}
    gaps = {
        run: GAP_INCHES + LINE_INCHES * (len(lines) - 1)
        for run, lines in names.items()
    }
    height = 0.75 + BAR_INCHES * len(bars) + sum(gaps.values())
    figure, axes = panel(xlabel, '', (4.9, height))
    y = 0.0
    for run in runs:
        y += gaps[run]
        text = '\n'.join(names[run])
        axes.text(0, y - 0.1, text, va='bottom', parse_math=False)
        for bar in (bar for bar in bars if bar.run == run):
            mean, std = 100 * bar.spread.mean, 100 * bar.spread.std
            axes.barh(
                y,
                mean,
                height=BAR_INCHES * 0.86,
                align='edge',
                color=styles[bar.series]['color'],
            )
            middle, text = y + BAR_INCHES * 0.43, f'{mean:.1f}'
            if bar.spread.seeds > 1:
                text += f' ± {std:.1f}'
                axes.errorbar(mean, middle, xerr=std, color='black', capsize=3)
            axes.text(mean + std + 1, middle, text, va='center', fontsize=9)
            y += BAR_INCHES
    longest = max(
        (100 * (b.spread.mean + b.spread.std) for b in bars), default=1
    )
    axes.set_xlim(0, LABEL_ROOM * max(longest, 1))
    axes.set_ylim(y + 0.1, 0)
    axes.xaxis.get_major_locator().set_params(nbins=5)
    axes.set_yticks([])
    axes.spines['left'].set_visible(False)
    axes.grid(False, axis='y')
    return figure
