import numpy as np
import pytest

from dsym.visualization.synthetic_gallery import cut_tile, synthetic_gallery


@pytest.mark.parametrize(
    'box', [(10, 20, 40, 30), (0, 0, 90, 60), (85, 55, 100, 60)]
)
def test_cut_tile__the_box_is_where_it_was(box):
    image = np.zeros((60, 100, 1), np.uint8)
    x1, y1, x2, y2 = box
    image[y1:y2, x1:x2] = 255
    tile = cut_tile(image, box)
    left, top, right, bottom = (max(round(x), 0) for x in tile.box)
    inside = tile.pixels[top:bottom, left:right]
    assert inside.min() == 255
    assert tile.pixels.sum() == inside.sum()
    longer = max(x2 - x1, y2 - y1)
    assert tile.pixels.shape[0] == min(round(1.3 * longer), 60)


def test_gallery__a_panel_a_tile_and_a_heading_a_block():
    tile = cut_tile(np.zeros((40, 40, 1), np.uint8), (5, 5, 20, 20), 'copy')
    figure = synthetic_gallery(
        {'a': [[tile] * 3, [tile]], 'b': [[tile], []]}, ('real', 'synthetic')
    )
    assert len(figure.axes) == 2 * (3 + 1 + 1)  # one column is a gap
    drawn = [len(axes.images) for axes in figure.axes]
    assert drawn == [1, 1, 1, 0, 1, 1, 0, 0, 0, 0]
    texts = [t.get_text() for axes in figure.axes for t in axes.texts]
    assert texts == ['real', 'synthetic']


def test_gallery__tiles_are_as_wide_and_as_far_apart_in_a_block():
    """A heading is wider than the tile it stands above."""
    tile = cut_tile(np.zeros((40, 40, 1), np.uint8), (5, 5, 20, 20))
    figure = synthetic_gallery(
        {name: [[tile] * 4] * 3 for name in 'abcdef'},
        ('real', 'synthetic', 'refused'),
    )
    figure.draw_without_rendering()
    row = [x.get_position() for x in figure.axes[:14]]
    tiles = [x for i, x in enumerate(row) if i not in (4, 9)]
    widths = [x.width for x in tiles]
    assert max(widths) == pytest.approx(min(widths), rel=0.01)
    steps = np.diff([x.x0 for x in tiles])
    inside = np.delete(steps, [3, 7])
    assert inside == pytest.approx(inside[0], rel=0.01)
    assert min(steps[3], steps[7]) > 1.2 * inside[0]
    for x in (axes for axes in figure.axes if axes.texts):
        assert x.texts[0].get_window_extent().y1 <= figure.bbox.y1
