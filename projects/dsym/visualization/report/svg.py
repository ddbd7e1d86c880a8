"""Matplotlib figures as SVG inside a page, in the page's colours."""

import io
import re

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ..style import PALETTE
from .markup import css_color, escape

# Inches; a phone shows a panel at about this size.
PANEL = (4.9, 3.2)
FONT_SIZE = 10
RC = {'svg.fonttype': 'none', 'font.size': FONT_SIZE}
# Colours of matplotlib that follow the theme of the page.
THEME = {
    '#000000': 'var(--ink)',
    '#ffffff': 'var(--paper)',
    '#b0b0b0': 'var(--rule)',
    **{color.lower(): css_color(color) for color in PALETTE},
}


def panel(xlabel: str, ylabel: str, size: tuple = PANEL) -> tuple:
    """Make a figure of one panel.

    Args:
        xlabel (str): Of the x axis.
        ylabel (str): Of the y axis.
        size (tuple[float, float]): Inches.

    Returns:
        tuple[Figure, Axes]: The figure and its axes.
    """
    with mpl.rc_context(RC):
        figure = Figure(figsize=size, layout='constrained')
        axes: Axes = figure.subplots()
    figure.patch.set_visible(False)
    axes.patch.set_visible(False)
    axes.set_axisbelow(True)
    axes.grid(color='#b0b0b0', linewidth=0.6)
    axes.spines[['top', 'right']].set_visible(False)
    axes.set_xlabel(xlabel, parse_math=False)
    axes.set_ylabel(ylabel, parse_math=False)
    return figure, axes


def inline_svg(figure: Figure, key: str, alt: str) -> str:
    """Turn a figure into SVG that can stand beside others in one page.

    Text stays text. All ids begin with ``key``, so that no two figures
    share one; what only a file of its own needs is left out.

    Args:
        figure (Figure): The figure.
        key (str): A name that no other figure of the page has.
        alt (str): What a reader who does not see it should know.

    Returns:
        str: An ``<svg>`` element.
    """
    buffer = io.StringIO()
    with mpl.rc_context({**RC, 'svg.hashsalt': key}):
        figure.savefig(buffer, format='svg', metadata={'Date': None})
    text = buffer.getvalue()
    text = text[text.index('<svg') :]
    text = re.sub(r'<metadata>.*?</metadata>', '', text, flags=re.S)
    text = re.sub(r'<style.*?</style>', '', text, flags=re.S)
    text = re.sub(r'<!--.*?-->', '', text, flags=re.S)
    text = re.sub(r' xmlns(:\w+)?="[^"]*"', '', text)
    text = text.replace('xlink:href', 'href')
    text = re.sub(r'(\bid="|"#|url\(#)', rf'\g<1>{key}-', text)
    text = re.sub(r"'DejaVu Sans'[^;\"]*", 'var(--sans)', text)
    for color, variable in THEME.items():
        text = text.replace(color, variable)
    label = f'<svg role="img" aria-label="{escape(alt)}" '
    text = re.sub(
        r'<svg ([^>]*?)width="[^"]*"',
        lambda found: label + found[1],  # a template reads backslashes
        text,
        count=1,
    )
    text = re.sub(r' height="[\d.]+pt"', '', text, count=1)
    return re.sub(r'\n\s*', '\n', text).strip()
