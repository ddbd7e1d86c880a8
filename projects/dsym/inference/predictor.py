"""Detect defects in images that are already decoded."""

import logging
from typing import Any, Callable, Dict, List, Optional, Sequence, Tuple

import cv2
import numpy as np
import torch
from mmcv.transforms import Compose
from mmdet.structures import DetDataSample
from mmdet.utils import get_test_pipeline_cfg
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.structures import InstanceData
from torch import Tensor, nn

from ..bf16 import faster_in_bf16
from ..errors import InputError
from ..models.dense_heads import YOLOv9Head
from .fused_conv import fuse_convs
from .model import ModelFiles, load_detector, read_config, set_test_cfg
from .onnx_backend import OnnxBackend

# An image longer than so many sides of the network's input loses its small
# defects.
LARGE = 4
LONG = 100  # sides; a network of 224 px leaves it two
MIN_SIDE = 1.0  # px of a detection

Backend = Callable[
    [Sequence[Tensor], Sequence[DetDataSample]], List[InstanceData]
]


class TorchBackend:
    """A network in PyTorch.

    Args:
        model (nn.Module): A detector in eval mode.
        bf16 (bool, optional): Whether to autocast to bfloat16. Defaults to
            None: where that is faster and the head is one of
            dsym's, which give float32 boxes.
        fuse (bool): Whether to put fused convolutions into the model, which
            :func:`merge_branches` made and which is for this alone from then
            on. On a GPU nothing is done. Defaults to False.
    """

    def __init__(
        self,
        model: nn.Module,
        bf16: Optional[bool] = None,
        fuse: bool = False,
    ) -> None:
        self.device = next(model.parameters()).device.type
        if bf16 is None:
            head = getattr(model, 'bbox_head', None)
            bf16 = isinstance(head, YOLOv9Head) and faster_in_bf16(self.device)
        self.bf16 = bf16
        if fuse and self.device == 'cpu':
            fuse_convs(model, torch.bfloat16 if bf16 else torch.float32)
        self.model = model

    @torch.inference_mode()
    def __call__(
        self, inputs: Sequence[Tensor], samples: Sequence[DetDataSample]
    ) -> List[InstanceData]:
        """Detect in images of one shape.

        Args:
            inputs (Sequence[Tensor]): Of the pipeline, ``(3, H, W)``.
            samples (Sequence[DetDataSample]): One an image.

        Returns:
            list[InstanceData]: ``bboxes`` in original pixels, ``scores``,
            ``labels``.
        """
        with self.autocast():
            results = self.model.test_step(
                dict(inputs=list(inputs), data_samples=list(samples))
            )
        return [result.pred_instances.cpu() for result in results]

    def autocast(self) -> torch.autocast:
        """What the model is to be called in."""
        return torch.autocast(self.device, torch.bfloat16, enabled=self.bf16)


class Predictor:
    """Pipeline, network and threshold.

    Images are put into one batch only with others of their shape: what is
    found in one does not depend on its neighbours. The first image that is
    much larger than the network's input is warned of.

    Args:
        backend (Backend): The network.
        pipeline (Compose): From ``dict(img=..., img_id=...)`` to ``inputs``
            and ``data_samples``.
        classes (Sequence[str]): Names in label order.
        score_thr (float): Least score of a detection. Defaults to 0.
    """

    def __init__(
        self,
        backend: Backend,
        pipeline: Compose,
        classes: Sequence[str],
        score_thr: float = 0.0,
    ) -> None:
        self.backend = backend
        self.pipeline = pipeline
        self.classes = tuple(classes)
        self.score_thr = score_thr
        self._warned = False

    def __call__(self, images: Sequence[np.ndarray]) -> List[InstanceData]:
        """Detect.

        Args:
            images (Sequence[np.ndarray]): ``(H, W, 3)``, uint8 in BGR, of any
                sizes.

        Returns:
            list[InstanceData]: ``bboxes`` ``(N, 4)``, xyxy in pixels of these
            images, ``scores`` and ``labels``; the best first.
        """
        packed = [self.pipeline(dict(img=x, img_id=0)) for x in images]
        for image, item in zip(images, packed):
            self._warn_if_large(image.shape[:2], item['inputs'].shape[1:])
        by_shape: Dict[Tuple[int, ...], List[int]] = {}
        for i, item in enumerate(packed):
            by_shape.setdefault(tuple(item['inputs'].shape), []).append(i)
        results: Dict[int, InstanceData] = {}
        for indices in by_shape.values():
            found = self.backend(
                [packed[i]['inputs'] for i in indices],
                [packed[i]['data_samples'] for i in indices],
            )
            results.update(zip(indices, map(self.choose, found)))
        return [results[i] for i in range(len(images))]

    def problem(self, image: np.ndarray) -> str:
        """Why an image cannot be looked at; '' if it can.

        Args:
            image (np.ndarray): ``(H, W, 3)``.

        Returns:
            str: That it is so long that its resize has no short side.
        """
        sides = image.shape[:2]
        if max(sides) < LONG * min(sides):
            return ''
        try:
            self.pipeline(dict(img=image, img_id=0))
        except cv2.error:
            return 'too long for the network, cut it into tiles'
        return ''

    def _warn_if_large(
        self, given: Sequence[int], network: Sequence[int]
    ) -> None:
        """Say once that an image loses most of its pixels."""
        side = max(network)
        if self._warned or max(given) <= LARGE * side:
            return
        self._warned = True
        print_log(
            f'an image of {given[1]}x{given[0]} px is reduced to {side} px, '
            'in which small defects vanish: cut such images into tiles of '
            f'about {side} px',
            'current',
            logging.WARNING,
        )

    def choose(self, boxes: InstanceData) -> InstanceData:
        """Keep boxes of enough score, the best first, in plain float32.

        What reaches into the padding is cut off at the border of the image;
        a strip thinner than a pixel may be left, which is no detection and
        an error in a file of labels.
        """
        boxes = boxes[boxes.scores >= self.score_thr]
        sides = boxes.bboxes[:, 2:] - boxes.bboxes[:, :2]
        boxes = boxes[(sides >= MIN_SIDE).all(1)]
        boxes = boxes[boxes.scores.argsort(descending=True, stable=True)]
        boxes.bboxes, boxes.scores = boxes.bboxes.float(), boxes.scores.float()
        boxes.labels = boxes.labels.long()
        return boxes


def image_pipeline(config: Config) -> Compose:
    """The test pipeline for images that are decoded, without annotations.

    Args:
        config (Config): With ``test_dataloader``.

    Returns:
        Compose: The pipeline.

    Raises:
        InputError: If it does not begin by reading a colour image.
    """
    first, *steps = [dict(x) for x in get_test_pipeline_cfg(config)]
    if (
        not first['type'].endswith('ImageFromFile')
        or first.get('color_type', 'color') != 'color'
    ):
        raise InputError(
            f'test_pipeline begins with {first}: let it begin with '
            "dict(type='LoadImageFromFile'), in colour"
        )
    loading = dict(
        type='mmdet.LoadImageFromNDArray',
        to_float32=first.get('to_float32', False),
    )
    return Compose(
        [
            loading,
            *(x for x in steps if not x['type'].endswith('LoadAnnotations')),
        ]
    )


def build_predictor(
    files: ModelFiles,
    score_thr: float,
    onnx: Optional[str] = None,
    test_cfg: Optional[Dict[str, Any]] = None,
    bf16: Optional[bool] = None,
) -> Predictor:
    """Make a predictor of a model's files.

    Args:
        files (ModelFiles): Of :func:`resolve_model`.
        score_thr (float): Least score of a detection.
        onnx (str, optional): What :func:`export_onnx` wrote of these files,
            to be used in place of PyTorch. Defaults to None.
        test_cfg (dict, optional): Changes of the model's. Defaults to None.
        bf16 (bool, optional): As in :class:`TorchBackend`.

    Returns:
        Predictor: The predictor.
    """
    config = read_config(files)
    set_test_cfg(config, dict(test_cfg or {}, score_thr=score_thr))
    if onnx:
        backend = OnnxBackend(onnx, config.model.test_cfg, files.checkpoint)
        classes = backend.classes
    else:
        model, classes = load_detector(files, config)
        backend = TorchBackend(model, bf16, fuse=True)
    return Predictor(backend, image_pipeline(config), classes, score_thr)
