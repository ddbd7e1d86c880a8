"""Write any of the package's data sets as COCO json."""

import os.path as osp
from typing import Dict, Sequence

from mmdet.datasets import BaseDetDataset


def dataset_to_coco(dataset: BaseDetDataset, image_root: str) -> Dict:
    """Convert a data set that has been built, with its own policies.

    Args:
        dataset (BaseDetDataset): The data set; ``test_mode=True`` keeps
            ``filter_cfg`` from dropping images.
        image_root (str): Folder that ``file_name`` is relative to, which a
            config then gives as ``data_prefix=dict(img=...)``.

    Returns:
        dict: As :func:`infos_to_coco`.
    """
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    return infos_to_coco(infos, image_root, dataset.metainfo['classes'])


def infos_to_coco(
    infos: Sequence[dict], image_root: str, classes: Sequence[str]
) -> Dict:
    """Convert data infos.

    Args:
        infos (Sequence[dict]): ``img_path``, ``width``, ``height`` and
            ``instances`` of each image.
        image_root (str): Folder that ``file_name`` is relative to.
        classes (Sequence[str]): Names in label order.

    Returns:
        dict: ``images`` (ids from 1, in the infos' order),
        ``annotations`` (``bbox`` as x, y, width, height in pixels;
        ``iscrowd`` 1 for ignored boxes) and ``categories`` (label + 1).
    """
    images, annotations = [], []
    for image_id, info in enumerate(infos, start=1):
        name = osp.relpath(info['img_path'], image_root)
        images.append(
            {
                'id': image_id,
                'file_name': name.replace('\\', '/'),
                'width': info['width'],
                'height': info['height'],
            }
        )
        for instance in info['instances']:
            x1, y1, x2, y2 = instance['bbox']
            annotations.append(
                {
                    'id': len(annotations) + 1,
                    'image_id': image_id,
                    'category_id': instance['bbox_label'] + 1,
                    'bbox': [x1, y1, x2 - x1, y2 - y1],
                    'area': (x2 - x1) * (y2 - y1),
                    'iscrowd': instance['ignore_flag'],
                }
            )
    categories = [
        {'id': label + 1, 'name': name} for label, name in enumerate(classes)
    ]
    return {
        'images': images,
        'annotations': annotations,
        'categories': categories,
    }
