"""Galleries: real beside synthetic defects, and what a gate refused."""

from typing import Dict, List, NamedTuple, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from .style import PALETTE, WIDTH

CROP_INCHES = 1.25
HEADING = 0.25  # inches
GAP = 0.3  # of a tile's width, between blocks


class Tile(NamedTuple):
    """A part of an image around a defect.

    Attributes:
        pixels (np.ndarray): ``(h, w)`` or ``(h, w, 3)``, uint8.
        box (tuple[float]): Corners of the defect in px of the part.
        title (str): What is written above. Defaults to ''.
    """

    pixels: np.ndarray
    box: Sequence[float]
    title: str = ''


def cut_tile(image: np.ndarray, box: Sequence[float], title: str = '') -> Tile:
    """Cut a square around a box out of an image.

    Args:
        image (np.ndarray): ``(H, W, C)``, uint8.
        box (Sequence[float]): Corners in px.
        title (str): Defaults to ''.

    Returns:
        Tile: 1.3 times as long as the box, where the image allows it.
    """
    x1, y1, x2, y2 = box
    height, width = image.shape[:2]
    side = round(min(1.3 * max(x2 - x1, y2 - y1), height, width))
    left = round(min(max((x1 + x2 - side) / 2, 0), width - side))
    top = round(min(max((y1 + y2 - side) / 2, 0), height - side))
    pixels = image[top : top + side, left : left + side]
    return Tile(
        pixels.squeeze(2) if pixels.shape[2] == 1 else pixels,
        (x1 - left, y1 - top, x2 - left, y2 - top),
        title,
    )


def synthetic_gallery(
    rows: Dict[str, List[Sequence[Tile]]], headings: Sequence[str]
) -> Figure:
    """Draw a row a class and blocks of columns beside each other.

    Args:
        rows (dict[str, list[Sequence[Tile]]]): By name of the class, tiles
            of each block.
        headings (Sequence[str]): Of the blocks.

    Returns:
        Figure: 1000 px wide when saved.
    """
    wide = [
        max((len(blocks[i]) for blocks in rows.values()), default=0)
        for i in range(len(headings))
    ]
    # a narrow column without tiles between blocks
    first = np.cumsum([0, *(count + 1 for count in wide)])
    widths = np.ones(max(first[-1] - 1, 1))
    widths[first[1:-1] - 1] = GAP
    inch = min(CROP_INCHES, (WIDTH - 1) / widths.sum())
    height = (inch + 0.2) * len(rows) + 0.5
    figure = Figure(figsize=(WIDTH, height), layout='constrained')
    # headings are wider than their columns: room for them, not in the layout
    figure.get_layout_engine().set(rect=(0, 0, 1, 1 - HEADING / height))
    panels = figure.subplots(
        len(rows), len(widths), squeeze=False, width_ratios=widths
    )
    for axes in panels.ravel():
        axes.set(xticks=[], yticks=[])
        axes.set_frame_on(False)
    for line, (name, blocks) in zip(panels, rows.items()):
        line[0].set_ylabel(name.replace('_', '\n'), fontsize=8)
        for number, tiles in enumerate(blocks):
            color = PALETTE[number % len(PALETTE)]
            for axes, tile in zip(line[first[number] :], tiles):
                draw_tile(axes, tile, color)
    for heading, count, start in zip(headings, wide, first):
        if count:
            text = panels[0][start].annotate(
                heading,
                (0, 1),
                (0, 14),
                xycoords='axes fraction',
                textcoords='offset points',
                fontsize=10,
                fontweight='bold',
            )
            text.set_in_layout(False)
    return figure


def draw_tile(axes, tile: Tile, color: str) -> None:
    """Draw a tile and its box.

    Args:
        axes (Axes): Where.
        tile (Tile): What.
        color (str): Of the box.
    """
    axes.imshow(
        tile.pixels, cmap='gray', vmin=0, vmax=255, interpolation='nearest'
    )
    x1, y1, x2, y2 = tile.box
    axes.add_patch(
        Rectangle(
            (x1 - 0.5, y1 - 0.5),
            x2 - x1,
            y2 - y1,
            fill=False,
            edgecolor=color,
            linewidth=1,
        )
    )
    # an empty one takes as much room, so that all tiles have one size
    axes.set_title(tile.title or ' ', fontsize=7, pad=2)
