"""Images of the page, with boxes drawn over them."""

import base64
from typing import Any, Dict, NamedTuple, Optional, Sequence, Union

import cv2
import numpy as np

from ..style import PALETTE
from .markup import escape

LONGEST = 400  # pixels of a thumbnail's longer side
JPEG_QUALITY = 85
LABEL_SHARE = 16  # an image is so many label heights wide
MOST_LISTED = 8


class Mark(NamedTuple):
    """A box over an image.

    Attributes:
        bbox (Sequence[float]): xywh in pixels of the image.
        category (int): Place of its class, which gives the colour.
        dashed (bool): Whether its line is dashed. Defaults to False.
        label (str): Text inside. Defaults to ''.
    """

    bbox: Sequence[float]
    category: int
    dashed: bool = False
    label: str = ''


def data_uri(pixels: np.ndarray) -> str:
    """Encode an image as JPEG, not larger than ``LONGEST``.

    Args:
        pixels (np.ndarray): RGB (H, W, 3), uint8.

    Returns:
        str: A ``data:`` address.
    """
    height, width = pixels.shape[:2]
    scale = LONGEST / max(height, width)
    if scale < 1:
        size = max(1, round(width * scale)), max(1, round(height * scale))
        pixels = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    jpeg = cv2.imencode(
        '.jpg', pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY]
    )[1]
    code = base64.b64encode(jpeg.tobytes()).decode()
    return f'data:image/jpeg;base64,{code}'


def picture(
    pixels: np.ndarray, marks: Sequence[Mark], title: str, alt: str
) -> str:
    """Show an image with boxes.

    Args:
        pixels (np.ndarray): RGB (H, W, 3), uint8.
        marks (Sequence[Mark]): Boxes.
        title (str): Written above.
        alt (str): For readers who do not see it.

    Returns:
        str: HTML.
    """
    height, width = pixels.shape[:2]
    boxes = ''.join(_mark(mark, width) for mark in marks)
    return (
        f'<div class="picture"><span>{escape(title)}</span><div>'
        f'<img src="{data_uri(pixels)}" alt="{escape(alt)}" '
        f'width="{width}" height="{height}">'
        f'<svg viewBox="0 0 {width} {height}" aria-hidden="true" '
        f'font-size="{max(width, height) / LABEL_SHARE:.1f}">{boxes}</svg>'
        '</div></div>'
    )


def _mark(mark: Mark, image_width: float) -> str:
    x, y, width, height = (round(float(v), 1) for v in mark.bbox)
    color = PALETTE[mark.category % len(PALETTE)]
    place = f'x="{x}" y="{y}" width="{width}" height="{height}"'
    dash = ' stroke-dasharray="6 5"' if mark.dashed else ''
    text = ''
    if mark.label:
        # beside the right border the text must end, not begin, at the box
        at_end = x > 0.8 * image_width
        text = (
            f'<text x="{x + width if at_end else x + 1:.1f}" y="{y}" '
            f'dy="1em" text-anchor="{"end" if at_end else "start"}">'
            f'{escape(mark.label)}</text>'
        )
    return (
        f'<rect class="halo" {place}{dash}/>'
        f'<rect {place} stroke="{color}"{dash}/>{text}'
    )


def color_legend(classes: Sequence[str], notes: Dict[str, bool]) -> str:
    """Colours of classes, and what lines mean.

    Args:
        classes (Sequence[str]): Class names in order.
        notes (dict[str, bool]): A meaning, and whether its line is dashed.

    Returns:
        str: HTML.
    """
    swatches = ''.join(
        f'<li><span class="swatch" style="background:'
        f'{PALETTE[i % len(PALETTE)]}"></span>{escape(name)}</li>'
        for i, name in enumerate(classes)
    )
    lines = ''.join(
        '<li><svg width="26" height="8" aria-hidden="true"><path '
        'd="M1 4H25" stroke="var(--ink)" stroke-width="2" '
        f'stroke-dasharray="{"6 5" if dashed else "none"}"/></svg>'
        f'{escape(text)}</li>'
        for text, dashed in notes.items()
    )
    return f'<ul class="legend">{swatches}{lines}</ul>'


def pair_figure(
    left: str, right: str, caption: str, shape: Sequence[int]
) -> str:
    """Two pictures that belong together.

    Args:
        left (str): Of :func:`picture`.
        right (str): Of :func:`picture`.
        caption (str): Plain text.
        shape (Sequence[int]): Height and width of the images; wide ones
            stand above each other.

    Returns:
        str: HTML.
    """
    css = 'pair flat' if shape[1] > 2 * shape[0] else 'pair'
    return (
        f'<figure class="{css}"><div class="both">{left}{right}</div>'
        f'<figcaption>{escape(caption)}</figcaption></figure>'
    )


def list_boxes(
    boxes: Sequence[Dict[str, Any]],
    names: Dict[int, str],
    notes: Optional[Sequence[Union[str, None]]] = None,
) -> str:
    """Put boxes into words: class, score and a note each.

    Args:
        boxes (Sequence[dict]): COCO annotations or results.
        names (dict[int, str]): Class names by category id.
        notes (Sequence[str], optional): One a box. Defaults to None.

    Returns:
        str: Such as ``scratches 0.81, inclusion 0.40 (false)``; equal words
        are counted.
    """
    words: Dict[str, int] = {}
    for box, note in zip(boxes, notes or [''] * len(boxes)):
        word = names[box['category_id']]
        if 'score' in box:
            word += f' {box["score"]:.2f}'
        word = f'{word} ({note})' if note else word
        words[word] = words.get(word, 0) + 1
    parts = [f'{n} {x}' if n > 1 else x for x, n in words.items()]
    if len(parts) > MOST_LISTED:
        rest = len(parts) - MOST_LISTED
        parts = [*parts[:MOST_LISTED], f'{rest} more']
    return ', '.join(parts) or 'none'
