"""The page around the sections."""

from datetime import date
from typing import Sequence

from ...version import __version__
from .assets import SCRIPT, STYLE
from .markup import Missing, Part, Section, escape

POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'"
)


def render_page(title: str, kicker: str, parts: Sequence[Part]) -> str:
    """Put sections into one page without outside references.

    Args:
        title (str): Heading of the page.
        kicker (str): A line above it.
        parts (Sequence[Section or Missing]): In their order; what is missing
            is listed at the end.

    Returns:
        str: HTML.
    """
    sections = [part for part in parts if isinstance(part, Section)]
    missing = [part for part in parts if isinstance(part, Missing)]
    if missing:
        items = ''.join(
            f'<li><strong>{escape(part.title)}.</strong> {part.remedy}</li>'
            for part in missing
        )
        sections.append(
            Section('missing', 'Not in this report', f'<ul>{items}</ul>')
        )
    links = ''.join(
        f'<li><a href="#{part.anchor}">{escape(part.title)}</a></li>'
        for part in sections
    )
    body = ''.join(
        f'<section id="{part.anchor}" aria-labelledby="{part.anchor}-title">'
        f'<h2 id="{part.anchor}-title">{escape(part.title)}</h2>'
        f'{part.body}</section>'
        for part in sections
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f'<title>{escape(title)}</title><style>{STYLE}</style></head><body>'
        '<a class="skip" href="#content">Skip to the content</a>'
        '<div class="layout"><header>'
        f'<p class="kicker">{escape(kicker)}</p><h1>{escape(title)}</h1>'
        f'</header><nav aria-label="Sections"><ul>{links}</ul></nav>'
        f'<main id="content" tabindex="-1">{body}'
        f'<footer>Made by dsym {__version__} on {date.today():%Y-%m-%d}. '
        'This file holds all it shows and loads nothing.</footer></main>'
        f'</div><script>{SCRIPT}</script></body></html>\n'
    )
