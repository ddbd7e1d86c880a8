from pathlib import Path
from typing import Dict, List, Sequence

import cv2
import numpy as np
import torch
from mmengine.dataset import BaseDataset, Compose
from mmengine.registry import DefaultScope, init_default_scope
from mmengine.structures import InstanceData
from torch import Tensor

from ..errors import InputError, MissingFileError
from ..evaluation.detection_curves import box_iou
from ..inference.model import ModelFiles, load_detector, read_config
from ..weights import resolve_weights
from .examples import read_image
from .windows import real_instances

SIDE = 32  # px of what crops are compared at
SAME = 0.3  # IoU from which on a detection is of a box


class DetectorJudge:
    """A detector that is asked about images.

    Args:
        config (str): Config of the detector.
        checkpoint (str): Its weights, or ``dsym://NAME``.
        classes (Sequence[str]): Of the data set.
        device (str): Defaults to the CPU.

    Raises:
        InputError: If a file is missing or the classes differ.
    """

    def __init__(
        self,
        config: str,
        checkpoint: str,
        classes: Sequence[str],
        device: str = 'cpu',
    ) -> None:
        checkpoint = resolve_weights(checkpoint)
        for name, file in (('config', config), ('checkpoint', checkpoint)):
            if not Path(file).is_file():
                raise MissingFileError(
                    f'gate.detector.{name}={file} does not exist: train a '
                    'detector on the labelled images and give its files'
                )
        files = ModelFiles(Path(config), Path(checkpoint))
        scope = DefaultScope.get_current_instance()
        options = read_config(files)
        self.model, trained = load_detector(
            files, options, deploy=False, device=device
        )
        if scope is not None:  # the detector's own is no longer needed
            init_default_scope(scope.scope_name)
        if trained != tuple(classes):
            raise InputError(
                f'gate.detector: {checkpoint} knows {", ".join(trained)}, but '
                f'the data set has {", ".join(classes)}: give one trained for '
                'them'
            )
        self.pipeline = Compose(
            step
            for step in options.test_dataloader.dataset.pipeline
            if not step['type'].endswith('LoadAnnotations')
        )

    @torch.no_grad()
    def __call__(self, paths: Sequence[str]) -> List[InstanceData]:
        """Detect.

        Args:
            paths (Sequence[str]): Image files.

        Returns:
            list[InstanceData]: Of each ``bboxes``, ``scores``, ``labels``, of
            NumPy.
        """
        data = [
            self.pipeline(dict(img_path=str(x), img_id=i))
            for i, x in enumerate(paths)
        ]
        results = self.model.test_step(
            dict(
                inputs=[x['inputs'] for x in data],
                data_samples=[x['data_samples'] for x in data],
            )
        )
        return [x.pred_instances.cpu().numpy() for x in results]


def best_match(
    found: InstanceData,
    boxes: np.ndarray,
    labels: np.ndarray,
    min_iou: float = 0.0,
    min_score: float = 0.0,
) -> np.ndarray:
    """IoU and score of the best detection of each box.

    Args:
        found (InstanceData): ``bboxes``, ``scores``, ``labels``, of NumPy.
        boxes (np.ndarray): ``(N, 4)``.
        labels (np.ndarray): ``(N,)``.
        min_iou (float): What is asked of the IoU. Defaults to 0.
        min_score (float): What is asked of the score. Defaults to 0.

    Returns:
        np.ndarray: ``(N, 2)``, of a detection of the box's class: one that
        passes both thresholds before one that passes the IoU's alone before
        any other, and among equals the highest product of both; zeros if
        there is none.
    """
    best = np.zeros((len(boxes), 2), np.float32)
    if not len(found.bboxes):
        return best
    ious = box_iou(boxes.astype(np.float32), found.bboxes.astype(np.float32))
    ious = ious * (labels[:, None] == found.labels[None])
    there = (ious > 0) & (ious >= min_iou)
    passing = there & (found.scores[None] >= min_score)
    # a product is 1 at most
    rank = ious * found.scores[None] + 1.0 * there + 1.0 * passing
    place = rank.argmax(1)
    rows = np.arange(len(boxes))
    best[:, 0] = ious[rows, place]
    best[:, 1] = found.scores[place] * (best[:, 0] > 0)
    return best


def rivals(
    found: InstanceData, boxes: np.ndarray, labels: np.ndarray
) -> np.ndarray:
    """Scores of the best detections of another class in the same places.

    Args:
        found (InstanceData): ``bboxes``, ``scores``, ``labels``, of NumPy.
        boxes (np.ndarray): ``(N, 4)``.
        labels (np.ndarray): ``(N,)``.

    Returns:
        np.ndarray: ``(N,)``, of those with an IoU of :data:`SAME`; 0 if there
        is none.
    """
    if not len(found.bboxes) or not len(boxes):
        return np.zeros(len(boxes), np.float32)
    ious = box_iou(boxes.astype(np.float32), found.bboxes.astype(np.float32))
    there = (ious >= SAME) & (labels[:, None] != found.labels[None])
    return (there * found.scores[None]).max(1)


def shows_defect(
    found: InstanceData,
    places: np.ndarray,
    boxes: np.ndarray,
    min_score: float,
) -> np.ndarray:
    """Where a detector finds a defect that nobody painted.

    Args:
        found (InstanceData): ``bboxes`` and ``scores``, of NumPy.
        places (np.ndarray): ``(M, 4)``, what was painted without a defect,
            whole: a defect is no detection of its quarter.
        boxes (np.ndarray): ``(N, 4)``, what was painted with one.
        min_score (float): Of a detection that counts.

    Returns:
        np.ndarray: ``(M,)``, bool, True if one has an IoU of :data:`SAME`
        with the place, and with no painted defect.
    """
    sure = found.bboxes[found.scores >= min_score].astype(np.float32)
    if not len(sure) or not len(places):
        return np.zeros(len(places), bool)
    there = box_iou(places.astype(np.float32), sure) >= SAME
    if len(boxes):
        there &= (box_iou(boxes.astype(np.float32), sure) < SAME).all(0)
    return there.any(1)


class CopyJudge:
    """How much crops are like labelled ones of their class.

    Crops at 32 x 32 px without their mean and of length 1: the product of two
    is their correlation, 1 for a copy, whatever its brightness or contrast.
    Each labelled one counts in its four flips.

    Args:
        dataset (BaseDataset): Labelled images.
    """

    def __init__(self, dataset: BaseDataset) -> None:
        known: Dict[int, list] = {}
        for i in range(len(dataset)):
            info = dataset.get_data_info(i)
            # as describe() sees a painted one in colour
            image = read_image(info['img_path'], 3)
            for x in real_instances(info):
                vector = describe(image, x['bbox'])
                square = vector.reshape(SIDE, SIDE)
                known.setdefault(x['bbox_label'], []).extend(
                    np.ascontiguousarray(y).ravel()
                    for y in (
                        square,
                        square[::-1],
                        square[:, ::-1],
                        square[::-1, ::-1],
                    )
                )
        self.known: Dict[int, Tensor] = {
            label: torch.from_numpy(np.stack(x)) for label, x in known.items()
        }

    def __call__(
        self, image: np.ndarray, boxes: np.ndarray, labels: np.ndarray
    ) -> np.ndarray:
        """Compare the boxes of an image.

        Args:
            image (np.ndarray): ``(H, W, C)``.
            boxes (np.ndarray): ``(N, 4)``.
            labels (np.ndarray): ``(N,)``.

        Returns:
            np.ndarray: ``(N,)``, highest correlation; 0 for a class without
            labelled ones.
        """
        highest = np.zeros(len(boxes), np.float32)
        for i, (box, label) in enumerate(zip(boxes, labels)):
            known = self.known.get(int(label))
            if known is not None:
                vector = torch.from_numpy(describe(image, box))
                highest[i] = float((known @ vector).max())
        return highest


def describe(image: np.ndarray, box: Sequence[float]) -> np.ndarray:
    """A crop as a vector of length 1 without its mean.

    Args:
        image (np.ndarray): ``(H, W, C)``, uint8.
        box (Sequence[float]): Corners in px.

    Returns:
        np.ndarray: ``(1024,)``, float32; zeros where nothing varies.
    """
    height, width = image.shape[:2]
    x1, y1, x2, y2 = (round(float(x)) for x in box)
    x1, y1 = min(max(x1, 0), width - 1), min(max(y1, 0), height - 1)
    part = image[y1 : max(y2, y1 + 1), x1 : max(x2, x1 + 1)].mean(2)
    part = cv2.resize(
        part.astype(np.float32), (SIDE, SIDE), interpolation=cv2.INTER_AREA
    )
    part = part.ravel() - part.mean()
    return part / max(float(np.linalg.norm(part)), 1e-3)
