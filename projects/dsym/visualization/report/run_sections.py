"""Sections about one run: figures, curves, classes, confusion, training."""

from typing import Any, Dict, List, Optional, Tuple

from ...evaluation.confusion import confusion_matrix
from ...evaluation.image_verdicts import ImageVerdict, judge_images
from ..curves import training_minutes
from ..style import PALETTE
from .charts import MEAN_STYLE, Line, class_lines, line_chart
from .inputs import Evaluation, RunFiles
from .markup import (
    Missing,
    Part,
    Section,
    count,
    escape,
    facts,
    figure,
    legend,
    panels,
    paragraph,
    percent,
    table,
    tiles,
)
from .svg import inline_svg

OVERALL = {
    'mAP_50': 'mAP at IoU 0.5',
    'mAP': 'mAP at IoU 0.5 to 0.95',
    'precision': 'precision',
    'recall': 'recall',
    'f1': 'F1',
}
CLASS_COLUMNS = {
    'AP50': 'AP50',
    'AP75': 'AP75',
    'AP': 'AP',
    'precision': 'precision',
    'recall': 'recall',
    'f1': 'F1',
}
TEST_COMMAND = (
    'python tools/test.py CONFIG CHECKPOINT --work-dir {0}/test --cfg-options '
    'test_evaluator.outfile_prefix={0}/test/result '
    'test_evaluator.save_predictions=True'
)
NEEDS_TEST = 'It needs an evaluation with its predictions; this makes one: {}'


def command(run_dir: Any) -> str:
    """How an evaluation with predictions is made, as HTML."""
    return f'<code>{escape(TEST_COMMAND.format(run_dir))}</code>.'


def verdicts_of(evaluation: Evaluation) -> Optional[List[ImageVerdict]]:
    """Judge the images at the best threshold; None without predictions."""
    if evaluation.truth is None:
        return None
    thr = evaluation.curves['yolo']['best_thr']
    return judge_images(evaluation.truth, evaluation.detections, thr)


def training_facts(scalars: List[dict]) -> List[Tuple[str, str]]:
    """Epochs, steps and minutes out of the log."""
    train = [row for row in scalars if 'loss' in row]
    if not train:
        return []
    found = [('last logged step', f'{train[-1]["step"]:,}')]
    if 'epoch' in train[-1]:
        found.insert(0, ('epochs trained', f'{train[-1]["epoch"]}'))
    if 'time' in train[-1]:
        minutes = training_minutes(train)
        found.append(('minutes of training steps', f'{minutes:.1f}'))
    return found


def result_body(run: RunFiles) -> str:
    """Main figures of the evaluation that is shown, in words and numbers."""
    evaluation = run.evaluation
    figures = evaluation.curves['figures']
    body = ''
    verdicts = verdicts_of(evaluation)
    if verdicts is not None:
        body += paragraph(verdict_sentence(verdicts, figures), 'lead')
    shown = [
        (f'{name}, %', percent(figures[key]).text)
        for key, name in OVERALL.items()
    ]
    shown.append(('confidence threshold', f'{figures["best_thr"]:.3f}'))
    body += tiles(shown)
    body += paragraph(
        'All are means over the classes. mAP is the area under the curve of '
        'precision over recall, as COCO defines it. Precision, recall and F1 '
        'belong to one confidence threshold for all classes, the one with '
        'the highest mean F1 on these images, and to boxes that overlap the '
        'truth by an IoU of 0.5.',
        'note',
    )
    if len(run.figures) > 1:
        rows = [
            [name, *(percent(x[key]) for key in OVERALL)]
            for name, x in run.figures.items()
        ]
        heads = ['evaluation', *OVERALL.values()]
        body += table('All evaluations of this run, in %', heads, rows)
    return body


def verdict_sentence(
    verdicts: List[ImageVerdict], figures: Dict[str, float]
) -> str:
    """Say in words what the detector finds."""
    truth = sum(len(x.truth) for x in verdicts)
    drawn = sum(len(x.detections) for x in verdicts)
    hits = sum(x.true_positives for x in verdicts)
    text = (
        f'On {len(verdicts):,} test images the detector finds {hits:,} of '
        f'{truth:,} defects'
    )
    text += f' ({100 * hits / truth:.0f} %)' if truth else ''
    text += f'. It draws {drawn:,} boxes, of which {drawn - hits:,}'
    text += f' ({100 * (drawn - hits) / drawn:.0f} %)' if drawn else ''
    return f'{text} are false, at a confidence of {figures["best_thr"]:.2f}.'


def run_summary(run: RunFiles) -> Section:
    """What was trained and how good it is.

    Args:
        run (RunFiles): The run.

    Returns:
        Section: Its summary.
    """
    known = [('work_dir', run.work_dir)]
    if run.config:
        known.append(('config', run.config))
    known += training_facts(run.scalars)
    body = ''
    if run.evaluation:
        known.append(('evaluation shown', run.evaluation.name))
        body = result_body(run)
    else:
        text = 'No evaluation by DefectMetric(outfile_prefix=...) is here.'
        body = paragraph(escape(text), 'lead')
    return Section('summary', 'Summary', body + facts(known))


def curves_section(run: RunFiles) -> Part:
    """Precision over recall, and all three over the confidence."""
    title = 'Precision and recall'
    if run.evaluation is None:
        remedy = NEEDS_TEST.format(command(run.work_dir))
        return Missing(title, remedy)
    curves = run.evaluation.curves
    classes, yolo = curves['classes'], curves['yolo']
    lines = class_lines(
        curves['coco']['precision_50'], curves['coco']['recall'], classes
    )
    figures = curves['figures']
    ap = ', '.join(
        f'{line.name} {percent(figures.get(f"{line.name}_AP50")).text}'
        for line in lines[:-1]
    )
    drawn = line_chart(
        lines, 'recall', 'precision', ylim=(0, 1.02), xlim=(0, 1)
    )
    alt = f'Precision over recall at IoU 0.5. AP50 in percent: {ap}'
    charts = [
        figure(
            inline_svg(drawn, 'pr', alt),
            'Precision over recall at IoU 0.5, as COCO samples it. Up and '
            'right is better.',
        )
    ]
    thr = yolo['best_thr']
    for key, name, note in (
        ('f1', 'F1', ''),
        (
            'precision',
            'precision',
            ' Where a class has no detection left, its precision counts as 1.',
        ),
        ('recall', 'recall', ''),
    ):
        lines = class_lines(yolo[key], yolo['confidence'], classes)
        drawn = line_chart(
            lines,
            'confidence threshold',
            name,
            ylim=(0, 1.02),
            xlim=(0, 1),
            marked_x=thr,
        )
        value = percent(figures[key]).text
        text = (
            f'Over the confidence, {name}; the mean is {value} % at '
            f'{thr:.3f}, the dotted line.{note}'
        )
        charts.append(figure(inline_svg(drawn, f'conf-{key}', text), text))
    body = legend([(line.name, line.style) for line in lines])
    return Section('curves', title, body + panels(charts))


def classes_section(run: RunFiles) -> Part:
    """Table of the classes."""
    title = 'Each class'
    if run.evaluation is None:
        remedy = NEEDS_TEST.format(command(run.work_dir))
        return Missing(title, remedy)
    curves = run.evaluation.curves
    figures = curves['figures']
    rows = [
        [
            name,
            count(curves['counts'][name]['truth']),
            *(
                percent(figures.get(f'{name}_{key}'), share=key == 'AP50')
                for key in CLASS_COLUMNS
            ),
        ]
        for name in curves['classes']
    ]
    overall = dict(
        figures,
        AP50=figures['mAP_50'],
        AP75=figures['mAP_75'],
        AP=figures['mAP'],
    )
    total = [
        'mean of classes',
        count(sum(x['truth'] for x in curves['counts'].values())),
        *(percent(overall[key], share=key == 'AP50') for key in CLASS_COLUMNS),
    ]
    heads = ['class', 'defects', *CLASS_COLUMNS.values()]
    body = table(
        'Figures of each class in %, and defects in the test images; a '
        'heading sorts',
        heads,
        rows,
        total,
    )
    body += paragraph(
        'AP50 asks for an overlap (IoU) of 0.5, AP75 for 0.75, AP is the '
        'mean over 0.5 to 0.95. A dash stands for a class without defects in '
        'these images.',
        'note',
    )
    return Section('classes', title, body)


def confusion_section(run: RunFiles) -> Part:
    """Matrix of true and detected classes."""
    title = 'Confusion of classes'
    evaluation = run.evaluation
    if evaluation is None or evaluation.truth is None:
        remedy = NEEDS_TEST.format(command(run.work_dir))
        return Missing(title, remedy)
    thr = evaluation.curves['yolo']['best_thr']
    matrix = confusion_matrix(evaluation.truth, evaluation.detections, thr)
    names = [cat['name'] for cat in evaluation.truth['categories']]
    caption = (
        'Rows: true class. Columns: detected class, at a confidence of at '
        f'least {thr:.3f}'
    )
    heads = ''.join(
        f'<th scope="col">{escape(name)}</th>' for name in [*names, 'missed']
    )
    rows = ''
    for i, name in enumerate([*names, 'no defect (false box)']):
        total = max(1, matrix[i].sum())
        cells = ''.join(
            f'<td{" class=right" if i == j else ""} '
            f'style="--share:{0.75 * value / total:.3f}">{value}</td>'
            for j, value in enumerate(matrix[i])
            if (i, j) != (len(names), len(names))
        )
        rows += f'<tr><th scope="row">{escape(name)}</th>{cells}</tr>'
    body = (
        f'<div class="scroll" role="region" tabindex="0" '
        f'aria-label="{escape(caption)}"><table class="matrix">'
        f'<caption><span>{escape(caption)}</span></caption><thead><tr>'
        f'<th scope="col">true</th>{heads}</tr></thead>'
        f'<tbody>{rows}</tbody></table></div>'
    )
    body += paragraph(
        'Boxes are paired by overlap alone (IoU at least 0.5, the largest '
        'first), so a defect under a wrong name stands beside the framed '
        'diagonal. The last column counts defects without any box, the last '
        'row boxes on no defect. The stronger the colour of a cell, the '
        'larger its share of the row.',
        'note',
    )
    return Section('confusion', title, body)


def are_shares(key: str, lines: List[Line]) -> bool:
    """Whether a chart is of figures from 0 to 1."""
    return key == 'val' and all(0 <= y <= 1 for x in lines for y in x.y)


def training_section(run: RunFiles) -> Part:
    """Losses, evaluation and learning rate over the steps."""
    title = 'Training'
    train = [row for row in run.scalars if 'loss' in row]
    val = [row for row in run.scalars if 'loss' not in row]
    if not train:
        return Missing(
            title,
            'No training is logged here; <code>python tools/train.py CONFIG '
            f'--work-dir {escape(run.work_dir)}</code> writes the log.',
        )
    keys = list(dict.fromkeys(k for row in train for k in row if 'loss' in k))
    logged = dict.fromkeys(k for row in val for k in row)
    overall = [k for k in logged if k.rsplit('/', 1)[-1] in OVERALL]
    # of another metric than ours, such as coco/bbox_mAP
    overall = overall or [key for key in logged if '/' in key]
    evaluated = lines_of(val, overall)
    once = bool(evaluated) and all(len(line.y) == 1 for line in evaluated)
    charts = []
    for key, lines, xlabel, ylabel, what in (
        ('loss', lines_of(train, keys), 'iteration', 'loss', 'Training loss'),
        (
            'val',
            evaluated,
            'epoch' if 'epoch' in train[0] else 'iteration',
            'share',
            'Evaluation during training',
        ),
        (
            'lr',
            lines_of(train, ['lr']),
            'iteration',
            'learning rate',
            'Learning rate',
        ),
    ):
        if not lines or (key == 'val' and once):
            continue
        first, last = lines[0].y[0], lines[0].y[-1]
        text = f'{what}; {lines[0].name} from {first:.4g} to {last:.4g}.'
        limits = (0, 1) if are_shares(key, lines) else None
        drawn = line_chart(lines, xlabel, ylabel, ylim=limits)
        content = inline_svg(drawn, f'train-{key}', text)
        if len(lines) > 1:
            content += legend([(x.name, x.style) for x in lines])
        charts.append(figure(content, text))
    body = panels(charts)
    if once:
        body += table(
            'The only evaluation during training',
            ['figure', 'value'],
            [[line.name, f'{line.y[0]:.4g}'] for line in evaluated],
        )
    if not val:
        body += paragraph('No evaluation was logged during training.', 'note')
    return Section('training', title, body)


def lines_of(rows: List[dict], keys: List[str]) -> List[Line]:
    """Lines of logged figures; the total loss is the thick one."""
    lines = []
    for i, key in enumerate(keys):
        points = [(row['step'], row[key]) for row in rows if key in row]
        if points:
            style = dict(color=PALETTE[i % len(PALETTE)], linewidth=1.5)
            if i >= len(PALETTE):
                style['linestyle'] = '--'
            x, y = zip(*points)
            lines.append(
                Line(key, x, y, MEAN_STYLE if key == 'loss' else style)
            )
    return lines
