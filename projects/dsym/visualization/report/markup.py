"""Parts of the page: tables, figures, legends. All text is escaped here."""

import html
import math
from typing import Any, NamedTuple, Optional, Sequence, Tuple, Union

from ..style import PALETTE

DASHES = {'-': 'none', '--': '6 3', ':': '1.5 3', '-.': '6 3 1.5 3'}


class Number(NamedTuple):
    """A cell that is sorted by its value.

    Attributes:
        value (float): What the column is sorted by.
        text (str): What is shown.
        share (float, optional): Length of the bar behind it, 0 to 1.
            Defaults to None, no bar.
    """

    value: float
    text: str
    share: Optional[float] = None


Cell = Union[str, Number]


class Section(NamedTuple):
    """A part of the page with a heading.

    Attributes:
        anchor (str): Its id.
        title (str): Its heading, which the navigation shows as well.
        body (str): HTML.
    """

    anchor: str
    title: str
    body: str


class Missing(NamedTuple):
    """A part that the files do not allow.

    Attributes:
        title (str): What is missing.
        remedy (str): One sentence that says why, and what would make it.
    """

    title: str
    remedy: str


Part = Union[Section, Missing]


def escape(text: Any) -> str:
    """Make text from a file safe in HTML and in quoted attributes."""
    return html.escape(str(text), quote=True)


def percent(value: Optional[float], share: bool = False) -> Number:
    """A share as a cell in percent; a dash for what has no value.

    Args:
        value (float, optional): From 0 to 1; None, NaN or -1 for none.
        share (bool): Draw a bar behind it. Defaults to False.

    Returns:
        Number: The cell.
    """
    if value is None or math.isnan(value) or value < 0:
        return Number(-1, '-')
    return Number(value, f'{100 * value:.1f}', value if share else None)


def count(value: int) -> Number:
    """A count as a cell."""
    return Number(value, f'{value:,}')


def paragraph(text: str, css: str = '') -> str:
    """A paragraph of plain text."""
    return f'<p{f" class={chr(34)}{css}{chr(34)}" if css else ""}>{text}</p>'


def table(
    caption: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[Cell]],
    total: Optional[Sequence[Cell]] = None,
) -> str:
    """A table whose columns can be sorted, in a box that scrolls.

    Args:
        caption (str): What it shows.
        columns (Sequence[str]): Headings.
        rows (Sequence[Sequence[str or Number]]): The first cell heads its row.
        total (Sequence[str or Number], optional): A last row that stays
            last. Defaults to None.

    Returns:
        str: HTML.
    """
    sample = rows[0] if rows else [''] * len(columns)
    heads = ''.join(
        f'<th scope="col"{_numeric(cell)} aria-sort="none">'
        f'<button type="button">{escape(name)}</button></th>'
        for name, cell in zip(columns, sample)
    )
    body = ''.join(_row(cells) for cells in rows)
    foot = f'<tfoot>{_row(total)}</tfoot>' if total else ''
    return (
        f'<div class="scroll" role="region" tabindex="0" '
        f'aria-label="{escape(caption)}"><table>'
        f'<caption><span>{escape(caption)}</span></caption>'
        f'<thead><tr>{heads}</tr></thead><tbody>{body}</tbody>{foot}'
        '</table></div>'
    )


def _numeric(cell: Cell) -> str:
    return ' class="number"' if isinstance(cell, Number) else ''


def _row(cells: Sequence[Cell]) -> str:
    first, *others = cells
    head = first.text if isinstance(first, Number) else first
    value = f' data-value="{first.value}"' if isinstance(first, Number) else ''
    return (
        f'<tr><th scope="row"{_numeric(first)}{value}>{escape(head)}</th>'
        + ''.join(map(_cell, others))
        + '</tr>'
    )


def _cell(cell: Cell) -> str:
    if not isinstance(cell, Number):
        return f'<td>{escape(cell)}</td>'
    bar = ''
    if cell.share is not None:
        bar = f' bar" style="--share:{100 * cell.share:.1f}%'
    return (
        f'<td class="number{bar}" data-value="{cell.value}">'
        f'{escape(cell.text)}</td>'
    )


def legend(entries: Sequence[Tuple[str, dict]]) -> str:
    """Names of lines, with a piece of each line.

    Args:
        entries (Sequence[tuple[str, dict]]): A name and its style, with
            ``color`` and ``linestyle``.

    Returns:
        str: HTML.
    """
    items = ''.join(
        '<li><svg width="26" height="8" aria-hidden="true"><path '
        f'd="M1 4H25" stroke="{css_color(style["color"])}" '
        f'stroke-width="{style.get("linewidth", 2)}" '
        f'stroke-dasharray="{DASHES[style.get("linestyle", "-")]}"/></svg>'
        f'{escape(name)}</li>'
        for name, style in entries
    )
    return f'<ul class="legend">{items}</ul>'


def css_color(color: str) -> str:
    """Name the page's variable for a colour, so that it fits the theme."""
    if color == 'black':
        return 'var(--ink)'
    if color in PALETTE:
        return f'var(--series-{PALETTE.index(color)})'
    return escape(color)


def figure(content: str, caption: str) -> str:
    """A figure with its caption, which is plain text."""
    return (
        f'<figure class="chart">{content}'
        f'<figcaption>{escape(caption)}</figcaption></figure>'
    )


def panels(figures: Sequence[str]) -> str:
    """Figures beside each other, or below on a narrow screen."""
    return f'<div class="panels">{"".join(figures)}</div>'


def facts(pairs: Sequence[Tuple[str, Any]]) -> str:
    """A list of names and values."""
    items = ''.join(
        f'<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>'
        for name, value in pairs
    )
    return f'<dl class="facts">{items}</dl>'


def tiles(pairs: Sequence[Tuple[str, str]]) -> str:
    """The main figures, large."""
    return facts(pairs).replace('class="facts"', 'class="tiles"', 1)


def details(summary: str, content: str, is_open: bool = False) -> str:
    """A part that the reader can fold."""
    return (
        f'<details{" open" if is_open else ""}>'
        f'<summary>{escape(summary)}</summary>{content}</details>'
    )
