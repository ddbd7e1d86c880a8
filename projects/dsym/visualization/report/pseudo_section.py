"""The audit of pseudo-labels: how many there are, how many are right."""

import math
from typing import Any, Dict, List, Optional

from ...evaluation.pseudo_label_audit import last_stage
from ..style import class_styles
from .charts import Line, line_chart
from .markup import (
    Missing,
    Part,
    Section,
    count,
    details,
    figure,
    legend,
    panels,
    paragraph,
    percent,
    table,
)
from .svg import inline_svg

Entries = List[Dict[str, Any]]


def keep_rates(entry: Dict[str, Any]) -> Dict[str, float]:
    """Share of the first stage's boxes that is in each stage.

    Args:
        entry (dict): An epoch of the audit.

    Returns:
        dict[str, float]: By stage; NaN where the first stage has no boxes.
    """
    stages = entry['stages']
    first = next(iter(stages.values()))['boxes'] if stages else 0
    return {
        name: x['boxes'] / first if first else math.nan
        for name, x in stages.items()
    }


def stage_lines(entries: Entries, key: str) -> List[Line]:
    """Lines of the stages over the epochs.

    Args:
        entries (list[dict]): The audit.
        key (str): ``precision``, ``recall``, ``kept`` or
            ``boxes_per_image``.

    Returns:
        list[Line]: One a stage.
    """
    names = list(
        dict.fromkeys(s for entry in entries for s in entry['stages'])
    )
    styles = class_styles(names)
    lines = []
    for name in names:
        chosen = [entry for entry in entries if name in entry['stages']]
        if key == 'kept':
            y = [keep_rates(entry)[name] for entry in chosen]
        else:
            y = [entry['stages'][name].get(key) for entry in chosen]
        x = [entry['epoch'] for entry in chosen]
        lines.append(Line(name, x, y, styles[name]))
    return lines


def audit_body(entries: Entries, key: str) -> str:
    """Charts and tables of one audit.

    Args:
        entries (list[dict]): One an epoch, at least one.
        key (str): A name for ids that no other audit of the page has.

    Returns:
        str: HTML.
    """
    last = entries[-1]
    charts = []
    for figure_key, name, text in (
        ('precision', 'precision', 'Share of pseudo-labels that are right'),
        ('recall', 'recall', 'Share of the hidden defects that are found'),
        ('kept', 'keep rate', 'Share of the predicted boxes at each stage'),
        ('boxes_per_image', 'boxes', 'Boxes on an image'),
    ):
        lines = stage_lines(entries, figure_key)
        ends = ', '.join(
            f'{line.name} {line.y[-1]:.2f}'
            for line in lines
            if line.y[-1] is not None and not math.isnan(line.y[-1])
        )
        text = f'{text}; in the last epoch: {ends or "no boxes"}.'
        ylim = None if figure_key == 'boxes_per_image' else (0, 1.02)
        drawn = line_chart(lines, 'epoch', name, ylim=ylim)
        svg = inline_svg(drawn, f'{key}-{figure_key}', text)
        charts.append(figure(svg, text))
    rates = keep_rates(last)
    rows = [
        [
            name,
            count(x['boxes']),
            percent(rates[name], share=True),
            percent(x['precision'], share=True),
            percent(x['recall'], share=True),
        ]
        for name, x in last['stages'].items()
    ]
    heads = ['stage', 'boxes', 'kept, %', 'precision, %', 'recall, %']
    body = legend([(x.name, x.style) for x in lines]) + panels(charts)
    epoch = last['epoch']
    body += table(f'Each stage of the filter in epoch {epoch}', heads, rows)
    name = last_stage(last['stages'])
    stage = last['stages'][name]
    first = next(iter(last['stages'].values()))
    rows = []
    for label, x in stage['classes'].items():
        before = first['classes'][label]['boxes']
        rows.append(
            [
                label,
                count(x['boxes']),
                percent(x['boxes'] / before if before else None, share=True),
                percent(x['precision'], share=True),
                percent(x['recall'], share=True),
            ]
        )
    heads[0] = 'class'
    caption = f'Each class after the last stage, {name}, in epoch {epoch}'
    return body + table(caption, heads, rows)


def pseudo_section(
    audits: Dict[str, Entries], first: Optional[str] = None
) -> Part:
    """The audits of one or more runs.

    Args:
        audits (dict[str, list[dict]]): Entries by run.
        first (str, optional): The run whose audit is open when the page is.
            Defaults to None, the first one.

    Returns:
        Section or Missing: The part of the page.
    """
    title = 'Pseudo-labels'
    audits = {
        name: entries
        for name, entries in audits.items()
        if entries and entries[-1]['stages']
    }
    if not audits:
        return Missing(
            title,
            'No audit of pseudo-labels is here; training a config of '
            '<code>configs/dsym</code> with PseudoLabelAuditHook by '
            '<code>python tools/train.py CONFIG</code> writes one.',
        )
    body = paragraph(
        'The teacher labels images whose annotations training never sees; '
        'the audit compares its labels with these annotations at IoU 0.5, '
        'after every stage of the filter. A good filter raises precision and '
        'loses little recall. The boxes of its last stage are hard targets '
        '(certain) or soft ones (uncertain); doubtful boxes are ignored.'
    )
    bodies = [
        (name, audit_body(entries, f'audit{i}'))
        for i, (name, entries) in enumerate(audits.items())
    ]
    if len(bodies) == 1:
        return Section('pseudo-labels', title, body + bodies[0][1])
    opened = first if first in audits else bodies[0][0]
    for name, content in bodies:
        body += details(name, content, is_open=name == opened)
    return Section('pseudo-labels', title, body)
