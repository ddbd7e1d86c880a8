import numpy as np
import pytest
from PIL import Image

from dsym.visualization import plot_pseudo_labels, pseudo_label_figure


def figures(precision, boxes):
    return dict(
        precision=precision,
        recall=0.5,
        boxes_per_image=boxes,
        classes=dict(a=dict(precision=precision), b=dict(precision=None)),
    )


@pytest.fixture
def entries():
    """Two epochs; the filter starts with the second one."""
    return [
        dict(
            epoch=3,
            stages=dict(
                predicted=figures(0.1, 90.0), selected=figures(None, 0.0)
            ),
        ),
        dict(
            epoch=4,
            stages=dict(
                predicted=figures(0.2, 80.0),
                selected=figures(0.6, 2.0),
                filtered=figures(0.7, 1.5),
            ),
        ),
    ]


def test_lines__are_stages_and_classes(entries):
    panels = pseudo_label_figure(entries, ['a', 'b']).axes
    for axes in panels[:3]:
        labels = [line.get_label() for line in axes.get_lines()]
        assert labels == ['predicted', 'selected', 'filtered']
    precision, recall, boxes, classes = (axes.get_lines() for axes in panels)
    assert list(precision[0].get_xdata()) == [3, 4]
    assert list(precision[0].get_ydata()) == [0.1, 0.2]
    np.testing.assert_equal(list(precision[1].get_ydata()), [np.nan, 0.6])
    assert list(precision[2].get_xdata()) == [4]
    assert list(recall[0].get_ydata()) == [0.5, 0.5]
    assert list(boxes[1].get_ydata()) == [0, 2]
    assert [line.get_label() for line in classes] == ['a', 'b']
    assert list(classes[0].get_ydata()) == [0.7]
    assert panels[3].get_title() == 'Precision of filtered boxes'


def test_parts__have_lines_but_are_not_the_last_stage(entries):
    entries[1]['stages'].update(
        certain=figures(0.9, 1.0),
        uncertain=figures(0.3, 0.5),
        doubtful=figures(0.2, 0.7),
    )
    panels = pseudo_label_figure(entries, ['a']).axes
    labels = [line.get_label() for line in panels[0].get_lines()]
    assert labels[2:] == ['filtered', 'certain', 'uncertain', 'doubtful']
    assert panels[0].get_lines()[3].get_ydata().tolist() == [0.9]
    assert panels[3].get_title() == 'Precision of filtered boxes'
    assert panels[3].get_lines()[0].get_ydata().tolist() == [0.7]


def test_boxes__logarithmic_only_if_many(entries):
    def scale():
        return pseudo_label_figure(entries, ['a']).axes[2].get_yscale()

    assert scale() == 'symlog'
    for entry in entries:
        del entry['stages']['predicted']
    assert scale() == 'linear'


def test_plot_pseudo_labels__saves(entries, tmp_path):
    path = plot_pseudo_labels(entries, tmp_path / 'new' / 'x.png', ['a', 'b'])
    with Image.open(path) as image:
        assert image.size == (1000, 750)


def test_no_entries__are_refused():
    with pytest.raises(ValueError, match='no pseudo-labels to draw yet'):
        pseudo_label_figure([], ['a'])
