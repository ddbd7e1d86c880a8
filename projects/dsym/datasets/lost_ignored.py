"""Boxes to ignore that a pipeline would teach as background."""

import logging
from typing import List

from mmengine.dataset import BaseDataset
from mmengine.logging import print_log
from mmyolo.datasets.transforms import LoadAnnotations


def warn_of_lost_ignored(
    dataset: BaseDataset, data_list: List[dict], source: str
) -> None:
    """Say how many boxes to ignore a training pipeline leaves out.

    mmyolo's ``LoadAnnotations`` drops them, and ``yolov5_collate`` would:
    what is in them is then learnt as background.

    Args:
        dataset (BaseDataset): With its pipeline.
        data_list (list[dict]): Its data infos.
        source (str): What is read, to begin the message with.
    """
    steps = dataset.pipeline.transforms
    if dataset.test_mode or not any(
        isinstance(step, LoadAnnotations) for step in steps
    ):
        return
    count = sum(
        instance.get('ignore_flag', 0)
        for info in data_list
        for instance in info['instances']
    )
    if count:
        print_log(
            f'{source}: {count} boxes are to be ignored, but '
            'mmyolo.LoadAnnotations leaves them out, and what is in them is '
            'learnt as background: take mmdet.LoadAnnotations, pseudo_collate '
            'and mmdet.DetDataPreprocessor, as '
            'configs/dsym/yolov9-t_1xb16-21e_neu-det-pseudo80.py does',
            logger='current',
            level=logging.WARNING,
        )
