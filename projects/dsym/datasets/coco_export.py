"""Write any of the package's data sets as COCO json."""

import os.path as osp
from typing import Dict

from mmdet.datasets import BaseDetDataset


def dataset_to_coco(dataset: BaseDetDataset, image_root: str) -> Dict:
    """Convert a data set that has been built, with its own policies.

    Args:
        dataset (BaseDetDataset): The data set; ``test_mode=True`` keeps
            ``filter_cfg`` from dropping images.
        image_root (str): Folder that ``file_name`` is relative to, which a
            config then gives as ``data_prefix=dict(img=...)``.

    Returns:
        dict: ``images`` (ids from 1, in the data set's order),
        ``annotations`` (``bbox`` as x, y, width, height in pixels;
        ``iscrowd`` 1 for ignored boxes) and ``categories`` (label + 1).
    """
    images, annotations = [], []
    for image_id in range(1, len(dataset) + 1):
        info = dataset.get_data_info(image_id - 1)
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
        {'id': label + 1, 'name': name}
        for label, name in enumerate(dataset.metainfo['classes'])
    ]
    return {
        'images': images,
        'annotations': annotations,
        'categories': categories,
    }
