"""Gallery: test images, truth and detections side by side."""

from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Union

import mmcv
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle

from .style import WIDTH, class_styles

# Pairs of truth and detections in a row.
PAIRS_PER_ROW = 2


def spread(num_items: int, num_chosen: int) -> List[int]:
    """Choose indices evenly, the first and the last among them.

    Args:
        num_items (int): Number of items to choose from.
        num_chosen (int): Number to choose; all items if there are fewer.

    Returns:
        list[int]: Rising indices.
    """
    count = min(num_items, num_chosen)
    return np.linspace(0, num_items - 1, count).round().astype(int).tolist()


def read_image(image: Dict[str, Any], img_root: Optional[str]) -> np.ndarray:
    """Read an image of a COCO data set in RGB.

    Args:
        image (dict): Its entry under ``images``.
        img_root (str, optional): Folder that the images were moved to, at
            any depth: of ``a/b/c.png`` it is asked for that, ``b/c.png`` and
            ``c.png``, and the first that exists is read. None takes
            ``file_name`` as it is.

    Returns:
        np.ndarray: Pixels (H, W, 3), uint8.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is no image.
    """
    path = Path(image['file_name'])
    if img_root is not None:
        parts = path.relative_to(path.anchor).parts
        ends = [Path(img_root, *parts[i:]) for i in range(len(parts))]
        # the longest: two folders may hold images of one name
        path = next(filter(Path.is_file, ends), ends[-1])
    if not path.is_file():
        raise FileNotFoundError(
            f'{path}: no such image; name the folder of the images with '
            'img_root'
        )
    pixels = mmcv.imread(str(path))
    if pixels is None:
        raise ValueError(f'{path} cannot be read as an image; replace it')
    return mmcv.bgr2rgb(pixels)


def gallery_figure(
    truth: Dict[str, Any],
    detections: Sequence[Dict[str, Any]],
    score_thr: float,
    num_images: int = 12,
    img_root: Optional[Union[str, Path]] = None,
) -> Figure:
    """Draw images twice, with their truth and with what was detected.

    Args:
        truth (dict): COCO data set, ``*.gt.json`` of ``DefectMetric``.
        detections (Sequence[dict]): COCO results, ``*.bbox.json``.
        score_thr (float): Lowest score that is drawn.
        num_images (int): Images to draw, spread evenly over the set.
            Defaults to 12.
        img_root (str or Path, optional): Folder of the images, where they
            are no longer at the paths in ``truth``. Defaults to None.

    Returns:
        Figure: 1000 px wide when saved, two images a row.

    Raises:
        ValueError: If the data set holds no image.
    """
    if not truth['images']:
        raise ValueError('The data set of the gallery holds no image')
    names = {cat['id']: cat['name'] for cat in truth['categories']}
    styles = class_styles(list(names.values()))
    images = [
        truth['images'][i] for i in spread(len(truth['images']), num_images)
    ]
    rows = -(-len(images) // PAIRS_PER_ROW)
    figure = Figure(figsize=(WIDTH, 2.72 * rows + 0.5), layout='constrained')
    panels = figure.subplots(rows, 2 * PAIRS_PER_ROW, squeeze=False).ravel()
    for axes in panels:
        axes.set_axis_off()
    for i, image in enumerate(images):
        pixels = read_image(image, img_root)
        true = [
            box
            for box in truth['annotations']
            if box['image_id'] == image['id']
        ]
        found = [
            box
            for box in detections
            if box['image_id'] == image['id'] and box['score'] >= score_thr
        ]
        stem = Path(image['file_name']).stem
        for axes, boxes, title in (
            (panels[2 * i], true, f'{stem}: truth, {len(true)}'),
            (panels[2 * i + 1], found, f'detected, {len(found)}'),
        ):
            axes.imshow(pixels)
            axes.set_title(title, fontsize=9, loc='left')
            for box in boxes:
                draw_box(axes, box, styles[names[box['category_id']]]['color'])
    figure.legend(
        handles=[
            Patch(color=styles[name]['color'], label=name)
            for name in names.values()
        ],
        loc='outside lower center',
        ncols=min(len(names), 6),
    )
    figure.suptitle(
        f'Detections with a score of at least {score_thr:.2f}', fontsize=11
    )
    return figure


def draw_box(axes: Axes, box: Dict[str, Any], color: str) -> None:
    """Draw a box, dashed if it is ignored, with its score if it has one.

    Args:
        axes (Axes): Where an image is drawn.
        box (dict): COCO annotation or result, ``bbox`` in xywh pixels.
        color (str): Colour of the box's class.
    """
    x, y, width, height = box['bbox']
    axes.add_patch(
        Rectangle(
            (x - 0.5, y - 0.5),  # imshow centres pixel 0 on 0
            width,
            height,
            fill=False,
            edgecolor=color,
            linewidth=2,
            linestyle='--' if box.get('iscrowd') else '-',
        )
    )
    if 'score' in box:
        axes.text(
            max(x, 0),
            max(y, 0),
            f'{box["score"]:.2f}',
            fontsize=7,
            color='white',
            va='top',
            bbox=dict(facecolor=color, edgecolor='none', pad=0.8),
        )
