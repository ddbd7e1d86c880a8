"""Sections about a study: runs against each other, over seeds."""

import statistics
from typing import Any, Dict, List, Sequence, Tuple

from ...evaluation.study_records import (
    group_records,
    known,
    record_classes,
    run_labels,
    spread_over_seeds,
)
from ..style import class_styles
from .charts import Bar, Line, bar_chart, line_chart
from .inputs import StudyFiles
from .markup import (
    Missing,
    Number,
    Part,
    Section,
    details,
    escape,
    facts,
    figure,
    legend,
    panels,
    paragraph,
    percent,
    table,
)
from .run_sections import OVERALL
from .svg import inline_svg

BAR_FIGURES = ('mAP_50', 'mAP', 'f1')


def seeds_cell(values: Sequence[float], share: bool = False) -> Number:
    """Mean in percent, with the deviation if there are several seeds."""
    if not values:
        return percent(None)
    spread = spread_over_seeds(values)
    text = f'{100 * spread.mean:.1f}'
    if spread.seeds > 1:
        text += f' ± {100 * spread.std:.1f}'
    return Number(spread.mean, text, spread.mean if share else None)


def scores_of(runs: Sequence[dict], split: str, key: str) -> List[float]:
    """A figure of each seed that has one."""
    return known([x['metrics'][split].get(key) for x in runs])


def study_summary(study: StudyFiles) -> Section:
    """Runs, seeds, minutes and machines.

    Args:
        study (StudyFiles): The study, with at least one record.

    Returns:
        Section: Its summary.
    """
    records = study.records
    groups = group_records(records)
    splits = list(dict.fromkeys(split for _, split in groups))
    body = ''
    for split in splits:
        ranked = sorted(
            (
                (seeds_cell(scores), name)
                for (name, of), runs in groups.items()
                if of == split and (scores := scores_of(runs, of, 'mAP_50'))
            ),
            key=lambda item: -item[0].value,
        )
        if not ranked:
            continue
        best = ranked[0][0].text
        level = [name for x, name in ranked if x.text == best]
        text = (
            f'Tested on {escape(split)}, {escape(" and ".join(level))} '
            f'{"is" if len(level) == 1 else "are"} highest with {best} % mAP '
            'at IoU 0.5'
        )
        for x, name in ranked[len(level) :][:1]:
            text += f'; next is {escape(name)}, {x.text} %'
            spreads = [
                spread_over_seeds(
                    scores_of(groups[run, split], split, 'mAP_50')
                )
                for run in (level[0], name)
            ]
            apart = spreads[0].mean - spreads[1].mean
            if apart <= max(spread.std for spread in spreads):
                text += ', no further away than seeds of one run are'
        body += paragraph(f'{text}.', 'lead')
    labels = run_labels(records)
    names = list(dict.fromkeys(labels))
    single = [name for name in names if labels.count(name) == 1]
    if single:
        body += paragraph(
            f'Trained with one seed only, so without an error bar: '
            f'{escape(", ".join(single))}. A small difference between such '
            'runs may be chance.'
        )
    if study.unrecorded:
        body += paragraph(
            f'Planned and not recorded yet: '
            f'{escape(", ".join(study.unrecorded))}; <code>python '
            'tools/study.py run STUDY</code> makes them.'
        )
    machines = dict.fromkeys(
        f'{x["machine"]["cpu"]}, {x["machine"]["cores"]} cores'
        for x in records
        if x.get('machine')
    )
    minutes = sum(x['minutes'] for x in records)
    body += facts(
        [
            ('runs', len(names)),
            ('trainings recorded', len(records)),
            ('minutes of training steps, in all', f'{minutes:.0f}'),
            ('machines', '; '.join(machines) or 'not recorded'),
        ]
    )
    rows = [
        [
            label,
            str(x['seed']),
            x.get('config', ''),
            x.get('train_split') or '',
            # None of a loop that counts steps
            Number(x.get('epochs') or 0, str(x.get('epochs') or '')),
            Number(x['minutes'], f'{x["minutes"]:.1f}'),
            x.get('commit', ''),
            x.get('note', ''),
        ]
        for x, label in zip(records, labels)
    ]
    heads = 'run,seed,config,trained on,epochs,minutes,commit,note'.split(',')
    body += details('All trainings', table('Recorded trainings', heads, rows))
    return Section('summary', 'Summary', body)


def ablation_bars(study: StudyFiles, key: str) -> List[Bar]:
    """Bars of a figure: a run after the other, one bar an evaluation.

    Args:
        study (StudyFiles): The study.
        key (str): Such as ``mAP_50``.

    Returns:
        list[Bar]: In the order of the records.
    """
    bars = []
    for (name, split), runs in group_records(study.records).items():
        values = scores_of(runs, split, key)
        if values:
            bars.append(Bar(name, split, spread_over_seeds(values)))
    return bars


def ablation_section(study: StudyFiles) -> Section:
    """Bars and a table of all runs.

    Args:
        study (StudyFiles): The study.

    Returns:
        Section: Runs against each other.
    """
    charts, series = [], {}
    for key in BAR_FIGURES:
        bars = ablation_bars(study, key)
        if not bars:
            continue
        text = '; '.join(
            f'{bar.run} on {bar.series} {100 * bar.spread.mean:.1f} %'
            for bar in bars
        )
        svg = inline_svg(
            bar_chart(bars, f'{OVERALL[key]}, %'),
            f'bars-{key.lower()}',
            f'{OVERALL[key]}: {text}',
        )
        charts.append(figure(svg, f'{OVERALL[key]} by run and evaluation'))
        series = class_styles(list(dict.fromkeys(b.series for b in bars)))
    body = paragraph(
        "Bars are means over seeds, whiskers the sample's standard "
        'deviation, where there are two seeds or more.'
    )
    body += legend(
        [(name, dict(style, linewidth=8)) for name, style in series.items()]
    )
    body += panels(charts)
    rows = []
    for (name, split), runs in group_records(study.records).items():
        minutes = statistics.fmean(x['minutes'] for x in runs)
        rows.append(
            [
                name,
                split,
                Number(len(runs), str(len(runs))),
                Number(minutes, f'{minutes:.0f}'),
                *(
                    seeds_cell(scores_of(runs, split, key), key == 'mAP_50')
                    for key in OVERALL
                ),
            ]
        )
    heads = ['run', 'tested on', 'seeds', 'minutes', *OVERALL.values()]
    caption = 'All runs, in %; minutes of one training; a heading sorts'
    body += table(caption, heads, rows)
    return Section('ablation', 'Runs compared', body)


def study_classes_section(study: StudyFiles) -> Part:
    """AP of each class and run, a table an evaluation.

    Args:
        study (StudyFiles): The study.

    Returns:
        Section: Tables.
    """
    by_split: Dict[str, List[Tuple[str, List[Dict[str, Any]]]]] = {}
    for (name, split), runs in group_records(study.records).items():
        by_split.setdefault(split, []).append((name, runs))
    tables = []
    for split, runs in by_split.items():
        classes = record_classes(
            [x['metrics'][split] for _, records in runs for x in records]
        )
        rows = [
            [
                cls,
                *(
                    seeds_cell(
                        scores_of(records, split, f'{cls}_AP50'), share=True
                    )
                    for _, records in runs
                ),
            ]
            for cls in classes
        ]
        caption = f'AP50 of each class on {split}, in %'
        heads = ['class', *(name for name, _ in runs)]
        tables.append((split, table(caption, heads, rows)))
    body = ''.join(
        details(f'Tested on {split}', content, is_open=i == 0)
        for i, (split, content) in enumerate(tables)
    )
    return Section('run-classes', 'Each class by run', body)


def study_training_section(study: StudyFiles) -> Part:
    """Loss of every epoch, as the records keep it.

    Args:
        study (StudyFiles): The study.

    Returns:
        Section or Missing: A chart.
    """
    title = 'Training of all runs'
    records = [x for x in study.records if x.get('losses')]
    # a loop that counts steps leaves a loss of each line of its log
    by_steps = [x for x in records if x.get('epochs', 1) is None]
    records = [x for x in records if x not in by_steps]
    if not records:
        return Missing(
            title,
            'The records hold no losses of epochs; those of <code>python '
            'tools/study.py run STUDY</code> with the trainer dsym and a loop '
            'that counts epochs do.',
        )
    labels = run_labels(records)
    styles = class_styles(list(dict.fromkeys(labels)))
    lines = [
        Line(
            label,
            [*range(1, len(x['losses']) + 1)],
            x['losses'],
            dict(styles[label], linewidth=1.5),
        )
        for x, label in zip(records, labels)
    ]
    text = 'Training loss of each epoch; a line a seed. ' + ', '.join(
        f'{label} seed {x["seed"]}: '
        + ' to '.join(
            'not finite' if loss is None else f'{loss:g}'
            for loss in (x['losses'][0], x['losses'][-1])
        )
        for x, label in zip(records, labels)
    )
    svg = inline_svg(line_chart(lines, 'epoch', 'loss'), 'losses', text)
    body = legend([*styles.items()]) + figure(svg, f'{text}.')
    if by_steps:
        names = dict.fromkeys(x['name'] for x in by_steps)
        body += paragraph(
            f'Not shown, for their training counts steps and no epochs: '
            f'{escape(", ".join(names))}.',
            'note',
        )
    body += paragraph(
        'Runs that train with other terms of the loss, or start from trained '
        'weights, have other losses; compare such runs by their mAP.',
        'note',
    )
    return Section('run-training', title, body)
