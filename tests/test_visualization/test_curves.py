import json

import numpy as np
import pytest
from PIL import Image

from dsym.visualization import (
    class_styles,
    confidence_figure,
    load_json,
    pr_figure,
    read_scalars,
    save_figure,
    training_figure,
    training_minutes,
)


def make_curves():
    confidence = np.linspace(0, 1, 1000)
    recall = np.linspace(0, 1, 101)
    return dict(
        classes=['a', 'b', 'no_truth'],
        figures=dict(
            a_AP50=0.5,
            b_AP50=0.75,
            mAP_50=0.625,
            precision=0.5,
            recall=0.5,
            f1=0.5,
        ),
        yolo=dict(
            best_thr=0.25,
            confidence=confidence.tolist(),
            precision=dict(a=confidence.tolist(), b=confidence.tolist()),
            recall=dict(a=(1 - confidence).tolist(), b=[1.0] * 1000),
            f1=dict(a=[0.5] * 1000, b=[0.5] * 1000),
        ),
        coco=dict(
            recall=recall.tolist(),
            precision_50=dict(
                a=(1 - recall).tolist(),
                b=(1 - recall / 2).tolist(),
                no_truth=None,
            ),
        ),
    )


def test_pr_figure__draws_classes_with_truth_and_their_mean(tmp_path):
    figure = pr_figure(make_curves())
    lines = figure.axes[0].get_lines()
    assert [line.get_label() for line in lines] == [
        'a  50.0',
        'b  75.0',
        'mean of classes  62.5',
    ]
    np.testing.assert_allclose(
        lines[2].get_ydata(), 1 - 0.75 * np.linspace(0, 1, 101)
    )
    with Image.open(save_figure(figure, tmp_path / 'new' / 'pr.png')) as image:
        assert image.width == 1000


def test_confidence_figure__marks_the_best_threshold():
    figure = confidence_figure(make_curves())
    assert len(figure.axes) == 3
    for axes in figure.axes:
        *curves, best = axes.get_lines()
        assert [line.get_label() for line in curves] == [
            'a',
            'b',
            'mean of classes',
        ]
        assert list(best.get_xdata()) == [0.25, 0.25]


def test_class_styles__all_differ():
    styles = class_styles([str(i) for i in range(28)])
    assert len({tuple(style.values()) for style in styles.values()}) == 28


def write_session(work_dir, name, lines, tail=''):
    folder = work_dir / name / 'vis_data'
    folder.mkdir(parents=True)
    text = ''.join(json.dumps(line) + '\n' for line in lines)
    (folder / 'scalars.json').write_text(text + tail)


def test_read_scalars__resumed_run(tmp_path):
    write_session(
        tmp_path,
        '20260101_000000',
        [
            dict(loss=3.0, lr=0.1, epoch=1, step=10),
            {'defect/mAP': 0.1, 'step': 1},
            dict(loss=2.0, lr=0.1, epoch=2, step=20),
        ],
        tail='{"loss": 1.',  # killed while writing
    )
    write_session(
        tmp_path,
        '20260102_000000',
        [
            dict(loss=2.5, lr=0.1, epoch=2, step=20),
            {'defect/mAP': 0.2, 'step': 2},
        ],
    )
    scalars = read_scalars(tmp_path)
    losses = [line['loss'] for line in scalars if 'loss' in line]
    figures = [line['defect/mAP'] for line in scalars if 'loss' not in line]
    assert losses == [3.0, 2.5]
    assert figures == [0.1, 0.2]

    loss_axes, metric_axes, lr_axes = training_figure(scalars).axes
    assert list(loss_axes.get_lines()[0].get_xdata()) == [10, 20]
    assert list(metric_axes.get_lines()[0].get_ydata()) == [0.1, 0.2]
    assert metric_axes.get_xlabel() == 'epoch'
    assert list(lr_axes.get_lines()[0].get_ydata()) == [0.1, 0.1]


def test_read_scalars__steps_that_a_kill_has_lost(tmp_path):
    """The next session goes on at 15 and ends before the first one did."""
    for name, steps, loss in (('a', (10, 20, 30), 1), ('b', (20, 25), 2)):
        write_session(tmp_path, name, [dict(loss=loss, step=x) for x in steps])
    # killed before it logged anything
    write_session(tmp_path, 'c', [])
    found = [(x['step'], x['loss']) for x in read_scalars(tmp_path)]
    assert found == [(10, 1), (20, 2), (25, 2)]


def test_training_minutes__of_phases_with_lines_of_their_own():
    """40 steps of 3 s, then 20 of 12 s."""
    lines = [
        dict(loss=1.0, time=3.0, step=20),
        {'defect/mAP': 0.1, 'step': 1},
        dict(loss=1.0, time=3.0, step=40),
        dict(loss=1.0, time=12.0, step=60),
    ]
    assert training_minutes(lines) == (40 * 3 + 20 * 12) / 60


def test_read_scalars__damaged_line_is_named(tmp_path):
    write_session(tmp_path, 'a', [])
    file = tmp_path / 'a' / 'vis_data' / 'scalars.json'
    file.write_text('{"loss"\n{"loss": 1, "step": 1}\n')
    with pytest.raises(ValueError, match=r'scalars\.json: line 1'):
        read_scalars(tmp_path)


def test_read_scalars__no_log(tmp_path):
    with pytest.raises(FileNotFoundError, match='work_dir'):
        read_scalars(tmp_path)


def test_training_figure__shows_overall_figures_only():
    scalars = [
        {'step': 1, 'defect/mAP_50': 0.5, 'defect/crazing_AP50': 0.4},
        {'step': 2, 'defect/mAP_50': 0.6, 'defect/crazing_AP50': 0.5},
    ]
    metric_axes = training_figure(scalars).axes[1]
    assert [line.get_label() for line in metric_axes.get_lines()] == [
        'defect/mAP_50'
    ]


def test_load_json__damaged_file_is_named(tmp_path):
    file = tmp_path / 'x.curves.json'
    file.write_text('{"classes": [')
    with pytest.raises(ValueError, match=r'x\.curves\.json'):
        load_json(file)
