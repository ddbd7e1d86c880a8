"""Curves of a run: precision and recall, F1 over confidence, training."""

import json
from math import inf
from pathlib import Path
from typing import Any, Dict, List, Sequence, Union

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from .style import PALETTE, WIDTH, class_styles

# Classes up to which a legend entry each stays readable.
MAX_LEGEND_CLASSES = 20


def load_json(path: Union[str, Path]) -> Any:
    """Read a json file.

    Raises:
        ValueError: If the file is no complete json.
    """
    try:
        return json.loads(Path(path).read_text())
    except json.JSONDecodeError as error:
        raise ValueError(
            f'{path} is no complete json ({error}); evaluate again to write '
            'it anew'
        ) from None


def _limit(axes: Axes) -> None:
    axes.set(xlim=(0, 1), ylim=(0, 1.02))
    axes.grid(alpha=0.3)


def pr_figure(curves: Dict[str, Any]) -> Figure:
    """Precision over recall at IoU 0.5, a line a class, as COCO samples it.

    Args:
        curves (dict): Content of a ``*.curves.json`` of ``DefectMetric``.

    Returns:
        Figure: One panel, 1000 x 620 px when saved.
    """
    figure = Figure(figsize=(WIDTH, 6.2), layout='constrained')
    axes = figure.subplots()
    recall, figures = curves['coco']['recall'], curves['figures']
    shown = {
        name: precision
        for name, precision in curves['coco']['precision_50'].items()
        if precision is not None
    }
    styles = class_styles(curves['classes'])
    for name, precision in shown.items():
        axes.plot(
            recall,
            precision,
            label=f'{name}  {100 * figures[f"{name}_AP50"]:.1f}',
            **styles[name],
        )
    if shown:
        axes.plot(
            recall,
            [sum(column) / len(shown) for column in zip(*shown.values())],
            color='black',
            linewidth=2.5,
            label=f'mean of classes  {100 * figures["mAP_50"]:.1f}',
        )
    _limit(axes)
    axes.set(
        xlabel='recall (share of truth boxes found)',
        ylabel='precision (share of detections true)',
        title='Precision over recall at IoU 0.5 (COCO, 101 recalls)',
    )
    if 0 < len(shown) <= MAX_LEGEND_CLASSES:
        figure.legend(
            *axes.get_legend_handles_labels(),
            title='AP50 in %',
            loc='outside right upper',
        )
    return figure


def confidence_figure(curves: Dict[str, Any]) -> Figure:
    """Precision, recall and F1 over the confidence threshold, at IoU 0.5.

    Args:
        curves (dict): Content of a ``*.curves.json`` of ``DefectMetric``.

    Returns:
        Figure: Three panels side by side, 1000 x 450 px when saved.
    """
    figure = Figure(figsize=(WIDTH, 4.5), layout='constrained')
    yolo, figures = curves['yolo'], curves['figures']
    styles = class_styles(curves['classes'])
    panels = figure.subplots(1, 3, sharey=True)
    for axes, key in zip(panels, ('precision', 'recall', 'f1')):
        for name, values in yolo[key].items():
            axes.plot(yolo['confidence'], values, label=name, **styles[name])
        if yolo[key]:
            axes.plot(
                yolo['confidence'],
                [
                    sum(column) / len(yolo[key])
                    for column in zip(*yolo[key].values())
                ],
                color='black',
                linewidth=2.5,
                label='mean of classes',
            )
        axes.axvline(yolo['best_thr'], color='grey', linestyle='--')
        _limit(axes)
        axes.set(
            xlabel='confidence threshold',
            title=f'{"F1" if key == "f1" else key}: '
            f'{100 * figures[key]:.1f} % at {yolo["best_thr"]:.3f}',
        )
    panels[0].set_ylabel('share (0 to 1)')
    if 0 < len(yolo['f1']) <= MAX_LEGEND_CLASSES:
        figure.legend(
            *panels[0].get_legend_handles_labels(),
            loc='outside lower center',
            ncols=4,
        )
    return figure


def read_scalars(work_dir: Union[str, Path]) -> List[Dict[str, float]]:
    """Read what mmengine logged in all sessions of a run.

    A resumed run has one ``*/vis_data/scalars.json`` a session. Training
    steps from the first on that a later session logged are lost: it went on
    from a checkpoint before them. Of evaluations of one step the later counts.

    Args:
        work_dir (str or Path): The run's work directory.

    Returns:
        list[dict[str, float]]: Logged lines in the order of their steps,
        training and evaluation mixed.

    Raises:
        FileNotFoundError: If nothing was logged there.
        ValueError: If a line other than a log's last one is damaged.
    """
    files = sorted(Path(work_dir).glob('*/vis_data/scalars.json'))
    if not files:
        raise FileNotFoundError(
            f'{work_dir}: no */vis_data/scalars.json; name the work_dir of a '
            'run that has logged at least once'
        )
    lines: Dict[tuple, Dict[str, float]] = {}
    for file in files:
        rows = [row for row in file.read_text().splitlines() if row.strip()]
        session: Dict[tuple, Dict[str, float]] = {}
        for number, row in enumerate(rows, start=1):
            try:
                scalars = json.loads(row)
            except json.JSONDecodeError:
                if number == len(rows):
                    continue  # the run was stopped while it wrote this line
                raise ValueError(
                    f'{file}: line {number} is no json; delete the line'
                ) from None
            session['loss' in scalars, scalars['step']] = scalars
        begin = min((step for train, step in session if train), default=inf)
        for key in [key for key in lines if key[0] and key[1] >= begin]:
            del lines[key]
        lines.update(session)
    return [lines[key] for key in sorted(lines)]


def training_minutes(scalars: Sequence[Dict[str, float]]) -> float:
    """Minutes of all training steps, from the logged times of some.

    Each logged time is the mean of the steps since the line before, of which
    an epoch's phase may have more or fewer. Steps after the last line count
    for nothing.

    Args:
        scalars (Sequence[dict]): Lines that :func:`read_scalars` read.

    Returns:
        float: Without start-up, evaluations and pauses.
    """
    seconds, before = 0.0, 0
    for line in scalars:
        if 'loss' in line:
            seconds += line['time'] * (line['step'] - before)
            before = line['step']
    return seconds / 60


def training_figure(scalars: Sequence[Dict[str, float]]) -> Figure:
    """Losses, evaluation figures and learning rate of a run.

    Args:
        scalars (Sequence[dict]): Lines that :func:`read_scalars` read.

    Returns:
        Figure: Three panels side by side, 1000 x 450 px when saved. The
        evaluation's are the overall figures of ``DefectMetric``, or all when
        it was not used.
    """
    train = [line for line in scalars if 'loss' in line]
    val = [line for line in scalars if 'loss' not in line]
    figure = Figure(figsize=(WIDTH, 4.5), layout='constrained')
    loss_axes, metric_axes, lr_axes = figure.subplots(1, 3)

    _plot_keys(loss_axes, train, _keys(train, lambda key: 'loss' in key))
    loss_axes.set(xlabel='iteration', ylabel='loss', title='Training loss')
    if train:
        loss_axes.set_ylim(bottom=0)

    figures = _keys(val, lambda key: '/' in key)
    overall = ('mAP_50', 'mAP', 'precision', 'recall', 'f1')
    _plot_keys(
        metric_axes,
        val,
        [x for x in figures if x.rsplit('/', 1)[-1] in overall] or figures,
    )
    by_epoch = any('epoch' in line for line in train)
    metric_axes.set(
        xlabel='epoch' if by_epoch else 'iteration',
        ylabel='share (0 to 1)',
        title='Evaluation',
    )
    if val:
        metric_axes.set_ylim(0, 1)
    else:
        metric_axes.text(
            0.5,
            0.5,
            'no evaluation logged',
            ha='center',
            transform=metric_axes.transAxes,
        )

    _plot_keys(lr_axes, train, _keys(train, lambda key: key == 'lr'))
    lr_axes.set(xlabel='iteration', ylabel='learning rate', title='Schedule')
    lr_axes.ticklabel_format(axis='y', style='sci', scilimits=(-2, 2))
    return figure


def _keys(lines: Sequence[dict], wanted: Any) -> List[str]:
    """Keys of any line that are wanted, in the order they appear."""
    return list(
        dict.fromkeys(key for line in lines for key in line if wanted(key))
    )


def _plot_keys(axes: Axes, lines: Sequence[dict], keys: Sequence[str]) -> None:
    """Plot one line a key over the steps; few points get a mark each."""
    for i, key in enumerate(keys):
        points = [(line['step'], line[key]) for line in lines if key in line]
        axes.plot(
            *zip(*points),
            color='black' if key == 'loss' else PALETTE[i % len(PALETTE)],
            marker='o' if len(points) < 20 else None,
            markersize=3,
            linewidth=2 if key == 'loss' else 1.2,
            label=key,
        )
    axes.grid(alpha=0.3)
    if len(keys) > 1:
        axes.legend(fontsize='small')
