"""NEU-DET, hot-rolled steel strip with six classes of surface defects."""

import os
import os.path as osp
from typing import List, Optional, Tuple

from mmengine.registry import DATASETS

from .defect_voc import DefectVOCDataset
from .issues import DatasetError
from .neu_det_meta import CLASSES, PALETTE
from .split_lists import find_split

# (images, annotations) below the data root, names in lower case.
FLAT_LAYOUT = [('images', 'annotations')]
KAGGLE_LAYOUT = [
    ('train/images', 'train/annotations'),
    ('validation/images', 'validation/annotations'),
]


@DATASETS.register_module()
class NEUDETDataset(DefectVOCDataset):
    """NEU-DET as it is downloaded.

    Both layouts are found by looking: ``IMAGES/*.jpg`` with
    ``ANNOTATIONS/*.xml``, and ``train/`` and ``validation/``, each with
    ``images/<class>/*.jpg`` and ``annotations/*.xml``. In the second one
    images of both parts are one pool, from which the split list draws. The
    default policies give the boxes that the published splits count:
    coordinates as they are, difficult boxes and exact duplicates kept, the
    class from ``<name>`` and not from the file name.

    Args:
        data_root (str): The downloaded folder, or the one that contains it
            as ``NEU-DET``. Defaults to ``'data/NEU-DET'``.
        split (str, optional): Name of a list that comes with the package
            (``labeled_20``, ``labeled_20_half1``, ``labeled_20_half2``,
            ``unlabeled_80``, ``labeled_40``, ``unlabeled_60``, ``dev``,
            ``train``, ``test``, ``paper_test``, ``paper_test_clean``,
            ``paper_val``) or path of a text file with one image a line. None
            takes every image. Defaults to ``'labeled_20'``.
        data_prefix (dict, optional): Folders ``img`` and ``ann``, for a copy
            in neither layout. Defaults to None, which looks for them.
        one_based (bool): Subtract 1 from all coordinates, which run 1..200,
            as mmdet's ``XMLDataset`` does. Defaults to False, as the labels
            of the paper.
        difficult (str): ``'keep'``, ``'ignore'`` or ``'drop'``. Defaults to
            ``'keep'``, as the labels of the paper.
        unlabeled (bool): Load images without looking for any xml. Defaults
            to False.
        **kwargs: As in :class:`DefectVOCDataset`.
    """

    METAINFO = {'classes': CLASSES, 'palette': PALETTE}

    def __init__(
        self,
        *,
        data_root: str = 'data/NEU-DET',
        split: Optional[str] = 'labeled_20',
        data_prefix: Optional[dict] = None,
        **kwargs,
    ) -> None:
        self.find_layout = data_prefix is None
        ann_file = '' if split is None else find_split(split, data_root)
        super().__init__(
            data_root=data_root,
            ann_file=ann_file,
            data_prefix=data_prefix,
            **kwargs,
        )

    def find_folders(self) -> Tuple[List[str], List[str]]:
        """Find the folders of either layout.

        Returns:
            tuple[list[str], list[str]]: Folders of images and annotations;
            no annotation folder if unlabelled.

        Raises:
            DatasetError: If there is neither layout.
        """
        if not self.find_layout:
            return super().find_folders()
        self.check_root()
        for root in (self.data_root, osp.join(self.data_root, 'NEU-DET')):
            for layout in (FLAT_LAYOUT, KAGGLE_LAYOUT):
                pairs = [
                    (_subfolder(root, images), _subfolder(root, anns))
                    for images, anns in layout
                ]
                found = [
                    (images, anns)
                    for images, anns in pairs
                    if images and (anns or self.unlabeled)
                ]
                if found:
                    return (
                        [images for images, _ in found],
                        []
                        if self.unlabeled
                        else [anns for _, anns in found if anns],
                    )
        raise DatasetError(
            f'{osp.abspath(self.data_root)} is no NEU-DET: it has neither '
            'IMAGES/ and ANNOTATIONS/ nor train/ and validation/ with '
            'images/ and annotations/ in each; set data_root to the unpacked '
            'download (docs/data.md)'
        )


def _subfolder(root: str, path: str) -> Optional[str]:
    """Follow a path below a folder, whatever the case of its names."""
    for part in path.split('/'):
        if not osp.isdir(root):
            return None
        names = [name for name in os.listdir(root) if name.lower() == part]
        if not names:
            return None
        root = osp.join(root, names[0])
    return root if osp.isdir(root) else None
