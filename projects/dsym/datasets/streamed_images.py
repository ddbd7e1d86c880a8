import logging
import os
import random
from pathlib import Path
from typing import Dict, Optional, Sequence, Union

import cv2
from mmcv.transforms import Compose
from mmengine.logging import print_log
from mmengine.registry import DATASETS
from torch.utils.data import Dataset

from ..cache_folder import cache_folder
from .issues import DatasetError
from .path_index import PathIndex, list_once

TRIES = 100  # images that cannot be used, one after the other


@DATASETS.register_module()
class StreamedImageDataset(Dataset):
    """Unlabelled images, however many: nothing is kept in memory.

    For the ``unlabeled_dataloader`` of :class:`MeanTeacherLoop`. The list of
    paths stays on disk, and images are decoded when they are asked for alone;
    one that cannot be decoded is replaced by another, with a warning. With
    ``PermutedSampler`` a pass needs no list of indices either.

    Args:
        data_root (str): Folder of the images, with subfolders; what relative
            paths of a list begin with. Defaults to ''.
        ann_file (str): Text file of a path a line. Defaults to '', which
            takes the folder as it is when the training starts; of several
            ranks the first lists it.
        metainfo (dict): With ``classes``, as of the labelled set.
        pipeline (Sequence): Transforms.
        cache_dir (str): Where lists of folders and the places of a list's
            lines are kept, on a disk of all nodes. Defaults to None,
            ``lists`` in :func:`cache_folder`.

    Raises:
        DatasetError: If folder or list are missing or empty, or no image can
            be used.
    """

    def __init__(
        self,
        data_root: str = '',
        ann_file: str = '',
        metainfo: Optional[dict] = None,
        pipeline: Sequence[Union[dict, callable]] = (),
        cache_dir: Optional[str] = None,
    ) -> None:
        folder = Path(cache_dir or cache_folder('lists')).expanduser()
        self.data_root = data_root
        self.metainfo = dict(metainfo or {})
        if not ann_file:
            ann_file = list_once(data_root, folder)
        self.paths = PathIndex(ann_file, folder)
        self.pipeline = Compose(pipeline)

    def __len__(self) -> int:
        """Number of images."""
        return len(self.paths)

    def full_init(self) -> None:
        """Nothing is left to do."""

    def get_data_info(self, index: int) -> Dict:
        """What a pipeline begins with.

        Args:
            index (int): Which image.

        Returns:
            dict: ``img_path``, ``img_id``, ``sample_idx``, no ``instances``.
        """
        return dict(
            img_path=os.path.join(self.data_root, self.paths[index]),
            img_id=int(index),
            sample_idx=index,
            instances=[],
        )

    def __getitem__(self, index: int) -> Dict:
        """Load an image and send it through the pipeline.

        Args:
            index (int): Which image.

        Returns:
            dict: What the pipeline makes of it.
        """
        for _ in range(TRIES):
            info = self.get_data_info(index)
            try:
                result = self.pipeline(info)
            except (OSError, AssertionError, cv2.error) as error:
                print_log(
                    f'{info["img_path"]!r} cannot be read and is replaced by '
                    f'another image: {error}',
                    'current',
                    logging.WARNING,
                )
                result = None
            if result is not None:
                return result
            index = random.randrange(len(self))
        raise DatasetError(
            f'{info["img_path"]!r} and {TRIES - 1} others cannot be used: '
            'look at the files and at the pipeline'
        )
