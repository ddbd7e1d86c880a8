"""The paper's tables, with our committed records beside its figures."""

import json
from pathlib import Path
from statistics import fmean
from typing import Any, Dict, List, Optional, Sequence

import yaml

from .gains import Gain, Pair, gain, paired, signed
from .plan import StudyError
from .table import head, percent, row

REPO = Path(__file__).resolve().parents[2]
NOT_MEASURED = 'not measured'
STOPPED = ' †'  # behind minutes that were a budget
FIGURES = 'recall', 'precision', 'mAP_50'
INTRO = """\
# The paper's tables

<!-- written by tools/study.py paper: change paper_tables.yaml -->

"""


def read_records(pattern: str) -> List[Dict[str, Any]]:
    """Read the records that a pattern names, by seed; maybe none."""
    records = [json.loads(path.read_text()) for path in REPO.glob(pattern)]
    return sorted(records, key=lambda record: record['seed'])


def found_records(pattern: str) -> List[Dict[str, Any]]:
    """Read the records that a pattern names; an error if there are none."""
    records = read_records(pattern)
    if not records:
        raise FileNotFoundError(
            f'{pattern}: no such record: run its study or leave it out'
        )
    return records


def records_of(
    entry: Dict[str, Any], key: str = 'records'
) -> List[Dict[str, Any]]:
    """Read the records of a row.

    Args:
        entry (dict): The row. A pattern by the name of ``key`` must find
            some; that of ``planned`` is of a study that may not have run.
        key (str): ``records`` or ``after``. Defaults to 'records'.

    Returns:
        list[dict]: One a seed; none of a row that was not measured.

    Raises:
        FileNotFoundError: If a pattern that must finds none.
    """
    if key in entry:
        return found_records(entry[key])
    if key == 'records' and 'planned' in entry:
        return read_records(entry['planned'])
    return []


def plain(value: Optional[float]) -> str:
    """A figure of the paper."""
    return '' if value is None else f'{value:.1f}'


def measured(
    records: Sequence[Dict[str, Any]], split: str, keys: Sequence[str]
) -> List[str]:
    """Figures of a row of ours, or what stands for them."""
    if not records:
        return [NOT_MEASURED] + [''] * (len(keys) - 1)
    scores = [record['metrics'][split] for record in records]
    return [percent([score[key] for score in scores]) for key in keys]


def effort(entry: Dict[str, Any]) -> List[str]:
    """Seeds, mean steps and minutes, with those of what a run began with.

    ``after`` counts with the seeds of the row, or with the one that it has.
    Minutes that ended a training before its schedule did are marked.
    """
    records = records_of(entry)
    if not records:
        return ['', '', '']
    seeds = [record['seed'] for record in records]
    before = records_of(entry, 'after')
    if len(before) > 1:
        before = [record for record in before if record['seed'] in seeds]
    parts = [part for part in (before, records) if part]
    steps, minutes = (
        ' + '.join(
            f'{fmean(record[key] for record in part):,.0f}' for part in parts
        )
        for key in ('steps', 'minutes')
    )
    stopped = any(stopped_early(record) for record in records)
    return [', '.join(map(str, seeds)), steps, minutes + STOPPED * stopped]


def stopped_early(record: Dict[str, Any]) -> bool:
    """Whether a budget of minutes ended a training."""
    return record.get('budget', {}).get('stopped', False)


def gains_table(content: Dict[str, Any], split: str, path: Path) -> List[str]:
    """What each part is worth."""
    lines = [content['what'] + '.', '']
    lines += head([
        'part', 'labels', 'paper', 'goal', 'gain', '95% of the mean',
        'reached', 'each pair', 'gain on dev',
    ])  # fmt: skip
    for entry in content['rows']:
        pairs = [
            pair
            for side in entry['pairs']
            for pair in paired(
                found_records(side['with']), found_records(side['without'])
            )
        ]
        if any(pair in pairs[:i] for i, pair in enumerate(pairs)):
            raise StudyError(f'{path}: {entry["row"]} has a pair twice')
        found = gain(pairs, split)
        goal = entry.get('goal')
        lines.append(
            row([
                entry['row'], entry['labels'],
                optional(entry.get('paper')), optional(goal),
                signed(found.mean), interval(found),
                '' if goal is None else found.reaches(goal),
                ', '.join(
                    f'{a["seed"]}: {signed(x)}'
                    for (a, _), x in zip(pairs, found.each)
                ),
                gain_on_dev(pairs),
            ])
        )  # fmt: skip
    return lines


def gain_on_dev(pairs: Sequence[Pair]) -> str:
    """Mean on ``dev``; nothing where its images were among the labelled."""
    if not all(
        'dev' in record['metrics'] for pair in pairs for record in pair
    ):
        return ''
    return signed(gain(pairs, 'dev').mean)


def optional(value: Optional[float]) -> str:
    """Points with their sign, or nothing."""
    return '' if value is None else signed(value)


def interval(found: Gain) -> str:
    """Ends of the confidence interval; nothing for one pair."""
    if len(found.each) == 1:
        return 'one pair'
    ends = (found.mean - found.margin, found.mean + found.margin)
    return ' to '.join(map(signed, ends))


def table_3(rows: List[Dict[str, Any]], split: str) -> List[str]:
    """Ablation."""
    lines = head([
        'configuration', 'labels', 'recall', 'precision', 'mAP@0.5',
        'paper: recall', 'precision', 'mAP@0.5', 'seeds', 'steps', 'minutes',
    ])  # fmt: skip
    for entry in rows:
        records = records_of(entry)
        paper = entry.get('paper', [None] * 3)
        lines.append(
            row([
                entry['row'], entry['labels'],
                *measured(records, split, FIGURES), *map(plain, paper),
                *effort(entry),
            ])
        )  # fmt: skip
    return lines


def table_4(content: Dict[str, Any], split: str) -> List[str]:
    """Classes."""
    records = records_of(content)
    lines = [content['what'] + '.', '']
    lines += head([
        'class', 'recall', 'precision', 'AP50', 'paper: recall', 'precision',
        'AP50',
    ])  # fmt: skip
    for name, paper in content['paper'].items():
        keys = [f'{name}_{key}' for key in ('recall', 'precision', 'AP50')]
        ours = measured(records, split, keys)
        lines.append(row([name, *ours, *map(plain, paper)]))
    return lines


def table_5(content: Dict[str, Any], split: str) -> List[str]:
    """Methods, with what they cost."""
    costs = {}
    lines = [
        '†: the training ended with its minutes, before the last epoch of its '
        'schedule; its learning rate had fallen to the end by then.',
        '',
    ]
    if 'costs' in content:
        path = Path(content['costs'])
        costs = json.loads((REPO / path).read_text())['results']['infer_1']
        lines += [
            'Costs of inference, one image of 224 px, with weights as they '
            'are before training: two-stage detectors keep every proposal '
            'then. GFLOPs leave out selective scans (MambaHead) and '
            "mmcv's own operators (TOOD's deformable convolutions). "
            f'[{path.name}](benchmarks/{path.name}), by '
            '`tools/benchmark.py methods`.',
            '',
        ]
    lines += head([
        'method', 'mAP@0.5', 'paper', 'seeds', 'steps', 'minutes',
        'parameters, M', 'GFLOPs', 'ms an image', 'MiB',
    ])  # fmt: skip
    for entry in content['rows']:
        records = records_of(entry)
        cost, figures = costs.get(entry['row']), [NOT_MEASURED, '', '', '']
        if cost:
            figures = [
                f'{cost["parameters"] / 1e6:.1f}',
                f'{cost["gflops"]:.1f}',
                f'{1000 / cost["images_per_second"]:.0f}',
                f'{cost["peak_mib"]:.0f}',
            ]
        lines.append(
            row([
                entry['row'], *measured(records, split, ['mAP_50']),
                plain(entry.get('paper')), *effort(entry), *figures,
            ])
        )  # fmt: skip
    return lines


def table_6(rows: List[List[str]]) -> List[str]:
    """Features."""
    lines = head([
        'method', 'annotation', 'data', 'multi-scale generation',
        'noise filtering', 'says',
    ])  # fmt: skip
    return lines + [row(cells) for cells in rows]


def page(path: Path) -> str:
    """Write the page.

    Args:
        path (Path): YAML of what stands in the tables.

    Returns:
        str: Markdown.

    Raises:
        FileNotFoundError: If a record that it names is missing.
        StudyError: If the YAML is of something else.
    """
    try:
        tables = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise StudyError(f'{path}: {" ".join(str(error).split())}') from None
    wanted = 'intro', 'split', 'gains', *(f'table_{i}' for i in (3, 4, 5, 6))
    for key in wanted:
        if not (isinstance(tables, dict) and key in tables):
            raise StudyError(
                f'{path} has no {key}: give the YAML of a page such as '
                'docs/paper_tables.yaml'
            )
    split = tables['split']
    sections = {
        'What each part is worth': gains_table(tables['gains'], split, path),
        'Table 3: ablation': table_3(tables['table_3'], split),
        'Table 4: classes': table_4(tables['table_4'], split),
        'Table 5: methods': table_5(tables['table_5'], split),
        'Table 6: features': table_6(tables['table_6']),
    }
    lines = [INTRO + tables['intro']]
    for title, content in sections.items():
        lines += [f'## {title}', '', *content, '']
    return '\n'.join(lines)
