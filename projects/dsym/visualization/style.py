"""What all figures share: colours, sizes and the way they are saved."""

from pathlib import Path
from typing import Dict, Sequence, Union

from matplotlib.figure import Figure

DPI = 100
# Inches; 1000 px wide at DPI.
WIDTH = 10
# Okabe and Ito's palette, which colour-blind readers can tell apart; its
# yellow is darkened to be seen on white.
PALETTE = (
    '#0072B2',
    '#E69F00',
    '#009E73',
    '#CC79A7',
    '#D55E00',
    '#56B4E9',
    '#B8A800',
)
LINE_STYLES = ('-', '--', ':', '-.')


def class_styles(classes: Sequence[str]) -> Dict[str, Dict[str, str]]:
    """Give each class a line of its own: colours first, then dashes.

    Args:
        classes (Sequence[str]): Class names.

    Returns:
        dict[str, dict]: ``color`` and ``linestyle`` by class name.
    """
    return {
        name: dict(
            color=PALETTE[i % len(PALETTE)],
            linestyle=LINE_STYLES[i // len(PALETTE) % len(LINE_STYLES)],
        )
        for i, name in enumerate(classes)
    }


def save_figure(figure: Figure, out_file: Union[str, Path]) -> Path:
    """Save a figure, making its folder when there is none.

    Args:
        figure (Figure): The figure.
        out_file (str or Path): A name with an image suffix.

    Returns:
        Path: The file.
    """
    out_file = Path(out_file)
    out_file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(out_file, dpi=DPI)
    return out_file
