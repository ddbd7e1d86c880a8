import numpy as np
import pytest
from matplotlib.patches import Rectangle
from PIL import Image

from dsym.visualization import gallery_figure, save_figure
from dsym.visualization.detections import read_image, spread


@pytest.fixture
def truth(tmp_path):
    for name in ('x', 'y', 'z'):
        pixels = np.full((40, 60, 3), 128, np.uint8)
        Image.fromarray(pixels).save(tmp_path / f'{name}.png')
    return dict(
        images=[
            dict(id=i, file_name=str(tmp_path / f'{name}.png'))
            for i, name in enumerate(('x', 'y', 'z'), start=1)
        ],
        categories=[dict(id=0, name='a'), dict(id=1, name='b')],
        annotations=[
            dict(image_id=1, category_id=0, bbox=[5, 6, 20, 10], iscrowd=0),
            dict(image_id=1, category_id=1, bbox=[30, 6, 20, 10], iscrowd=1),
        ],
    )


DETECTIONS = [
    dict(image_id=1, category_id=0, bbox=[6, 6, 20, 10], score=0.9),
    dict(image_id=1, category_id=1, bbox=[6, 6, 20, 10], score=0.2),
    dict(image_id=3, category_id=1, bbox=[0, 0, 60, 40], score=0.5),
]


def rectangles(axes):
    return [
        (patch.get_x(), patch.get_y(), patch.get_width(), patch.get_height())
        for patch in axes.patches
        if isinstance(patch, Rectangle)
    ]


def test_gallery__boxes_beside_their_truth(truth, tmp_path):
    figure = gallery_figure(truth, DETECTIONS, score_thr=0.5)
    drawn = [rectangles(axes) for axes in figure.axes]
    # truth, detections of image 1, 2 and 3; the grid's fourth pair is empty
    assert [len(boxes) for boxes in drawn] == [2, 1, 0, 0, 0, 1, 0, 0]
    # a box from pixel edge 5 starts half a pixel before the centre of pixel 5
    assert drawn[0][0] == (4.5, 5.5, 20, 10)
    assert [p.get_linestyle() for p in figure.axes[0].patches] == ['-', '--']
    assert figure.axes[1].texts[0].get_text() == '0.90'
    with Image.open(save_figure(figure, tmp_path / 'g.png')) as image:
        assert image.width == 1000


def test_gallery__images_moved(truth, tmp_path):
    for image in truth['images']:
        image['file_name'] = f'/gone/{image["file_name"].rsplit("/")[-1]}'
    with pytest.raises(FileNotFoundError, match=r'/gone/x\.png.*img_root'):
        gallery_figure(truth, DETECTIONS, 0.5)
    figure = gallery_figure(truth, DETECTIONS, 0.5, img_root=tmp_path)
    assert len(rectangles(figure.axes[0])) == 2


def test_gallery__moved_images_of_one_name(tmp_path):
    for value, folder in ((10, 'a'), (20, 'b'), (30, '.')):
        path = tmp_path / folder / 'x.png'
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.full((4, 6), value, np.uint8)).save(path)
    found = [
        read_image(dict(file_name=f'/gone/{name}'), tmp_path)[0, 0, 0]
        for name in ('a/x.png', 'b/x.png', 'x.png', 'c/x.png')
    ]
    assert found == [10, 20, 30, 30]


def test_gallery__corrupt_image_is_named(truth, tmp_path):
    (tmp_path / 'y.png').write_text('no image')
    with pytest.raises(ValueError, match=r'y\.png'):
        gallery_figure(truth, DETECTIONS, 0.5)


def test_gallery__no_image(truth):
    with pytest.raises(ValueError, match='no image'):
        gallery_figure(dict(truth, images=[]), [], 0.5)


def test_spread():
    assert spread(180, 4) == [0, 60, 119, 179]
    assert spread(3, 12) == [0, 1, 2]
