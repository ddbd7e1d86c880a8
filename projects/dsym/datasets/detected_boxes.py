import json
import os.path as osp
from typing import Dict, List, NamedTuple, Sequence, Union

import numpy as np
import torch
from mmdet.structures.bbox import bbox_project
from mmengine.dataset import BaseDataset
from mmengine.logging import print_log
from mmengine.registry import DATASETS
from mmengine.structures import InstanceData
from torch.utils.data import Dataset

from ..errors import InputError, MissingFileError
from .untracked import untracked_step

META_KEYS = ('img_path', 'homography_matrix')


class Detected(NamedTuple):
    """A detector's boxes of an image.

    Attributes:
        bboxes (np.ndarray): ``(N, 4)``, corners in px of the original image.
        labels (np.ndarray): ``(N,)``.
    """

    bboxes: np.ndarray
    labels: np.ndarray


@DATASETS.register_module()
class DetectedBoxDataset(Dataset):
    """Labelled images, and the boxes that detectors made on them.

    A sample gets ``detected``, an :class:`InstanceData` of ``bboxes`` and
    ``labels`` in the pixels of its view, which :class:`CLIPGrader` learns to
    grade beside the regions that it draws itself. What they teach is how a
    detector errs on images that it has not seen: each file has to be of a
    detector that was trained without the images in it (docs/clip.md).

    Args:
        dataset (dict or BaseDataset): Labelled images. Its pipeline packs
            ``img_path`` and ``homography_matrix``, and each of its steps
            records that matrix.
        detections (Sequence[str]): Prefixes of the ``*.gt.json`` and
            ``*.bbox.json`` that ``DefectMetric(save_predictions=True)``
            writes; of the first images and classes count, not the truth. An
            image may be in several, or in none.
        score_thr (float): Least score of a box. Defaults to 0.05.

    Raises:
        InputError: For a file that is missing or malformed, has other classes
            or an image that is none of ``dataset``, or a pipeline that does
            not say where boxes went.
    """

    def __init__(
        self,
        dataset: Union[dict, BaseDataset],
        detections: Sequence[str],
        score_thr: float = 0.05,
    ) -> None:
        if isinstance(dataset, dict):
            dataset = DATASETS.build(dataset)
        if not hasattr(dataset, 'pipeline'):
            raise InputError(
                f'DetectedBoxDataset: dataset={type(dataset).__name__}(...) '
                'is a wrapper: wrap each of its data sets'
            )
        self.dataset = dataset
        self.metainfo = dataset.metainfo
        check_pipeline(dataset.pipeline.transforms)
        paths = [
            dataset.get_data_info(i)['img_path'] for i in range(len(dataset))
        ]
        parts: Dict[str, List[Detected]] = {osp.realpath(x): [] for x in paths}
        for prefix in detections:
            found = read_detections(
                prefix, dataset.metainfo['classes'], score_thr
            )
            for path, boxes in found.items():
                if osp.realpath(path) not in parts:
                    raise InputError(
                        f'{prefix}.gt.json names {path}, which is none of the '
                        f'{len(paths)} images of the labelled set: detect on '
                        'images of that set alone'
                    )
                parts[osp.realpath(path)].append(boxes)
        self.detected = {
            path: Detected(*map(np.concatenate, zip(*found)))
            for path, found in parts.items()
            if found
        }
        count = sum(len(x.labels) for x in self.detected.values())
        print_log(
            f'DetectedBoxDataset: {count} boxes of a score of {score_thr} and '
            f'more on {len(self.detected)} of {len(paths)} labelled images',
            'current',
        )

    def __len__(self) -> int:
        """Number of images."""
        return len(self.dataset)

    def full_init(self) -> None:
        """Nothing is left to do."""

    def get_data_info(self, index: int) -> dict:
        """Data info of an image, without a detector's boxes."""
        return self.dataset.get_data_info(index)

    def __getitem__(self, index: int) -> dict:
        """Load an image, and move its boxes as the pipeline moved it.

        Args:
            index (int): Which image.

        Returns:
            dict: ``inputs`` and ``data_samples``.
        """
        data = self.dataset[index]
        sample = data['data_samples']
        # by its path: the pipeline may refuse an image and get another
        found = self.detected.get(osp.realpath(sample.img_path))
        bboxes, labels = torch.zeros(0, 4), torch.zeros(0, dtype=torch.long)
        if found is not None:
            # no step that moves boxes has recorded nothing
            matrix = sample.get('homography_matrix', np.eye(3))
            bboxes = bbox_project(
                torch.from_numpy(found.bboxes),
                torch.from_numpy(np.asarray(matrix, np.float32)),
            )
            labels = torch.from_numpy(found.labels)
        sample.detected = InstanceData(bboxes=bboxes, labels=labels)
        return data


def check_pipeline(steps: Sequence) -> None:
    """Raise :class:`InputError` unless boxes can be moved as a pipeline does.

    Args:
        steps (Sequence): Its transforms.
    """
    problem = untracked_step(steps)
    if problem:
        raise InputError(f'DetectedBoxDataset: {problem}')
    packed = getattr(steps[-1], 'meta_keys', ()) if steps else ()
    missing = [x for x in META_KEYS if x not in packed]
    if missing:
        raise InputError(
            'DetectedBoxDataset: the pipeline packs no '
            f'{" and no ".join(missing)}: add it to the meta_keys of '
            'PackDetInputs'
        )


def read_detections(
    prefix: str, classes: Sequence[str], score_thr: float
) -> Dict[str, Detected]:
    """Read what a detector found.

    Args:
        prefix (str): Of a ``*.gt.json``, for its images and classes, and a
            ``*.bbox.json``.
        classes (Sequence[str]): Which it has to have.
        score_thr (float): Least score.

    Returns:
        dict[str, Detected]: By the path of the image; also those without a
        box.

    Raises:
        InputError: For a file that is missing or malformed, or other classes.
    """
    images, rows = (
        read_json(f'{prefix}.{kind}.json') for kind in ('gt', 'bbox')
    )
    try:
        names = [x['name'] for x in images['categories']]
        labels = {x['id']: i for i, x in enumerate(images['categories'])}
        paths = {x['id']: x['file_name'] for x in images['images']}
        found: Dict[str, list] = {path: [] for path in paths.values()}
        for row in rows:
            if row['score'] >= score_thr:
                x, y, width, height = row['bbox']
                label = labels[row['category_id']]
                found[paths[row['image_id']]].append(
                    (x, y, x + width, y + height, label)
                )
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f'{prefix}.bbox.json and {prefix}.gt.json are no detections and '
            f'their images ({type(error).__name__}: {error}): write both by '
            'test_evaluator.save_predictions=True'
        ) from error
    if names != list(classes):
        raise InputError(
            f'{prefix}.gt.json has the classes {", ".join(names)}, but the '
            f'data set has {", ".join(classes)}: detect by a detector of these'
        )
    return {
        path: Detected(
            np.array([x[:4] for x in boxes], np.float32).reshape(-1, 4),
            np.array([x[4] for x in boxes], np.int64),
        )
        for path, boxes in found.items()
    }


def read_json(path: str) -> Union[dict, list]:
    """Read a file of detections.

    Raises:
        InputError: If it is missing or no JSON.
    """
    if not osp.isfile(path):
        raise MissingFileError(
            f'detections: {path} does not exist: write it by tools/test.py, '
            'as docs/clip.md says'
        )
    with open(path, encoding='utf-8') as file:
        try:
            return json.load(file)
        except ValueError as error:
            raise InputError(
                f'{path} is no JSON ({error}): write it again by tools/test.py'
            ) from error
