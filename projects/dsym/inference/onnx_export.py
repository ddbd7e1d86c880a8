"""Write a detector as ONNX."""

import json
import warnings
from pathlib import Path
from typing import Sequence, Tuple

import torch
from mmyolo.models.dense_heads import YOLOv8Head
from torch import Tensor, nn

from ..compat import EXPORTER_OF_TRACES
from ..errors import InputError
from ..models.dense_heads.yolov9_head import flatten_levels
from .onnx_backend import file_hash, need

OPSET = 17


class DecodedNetwork(nn.Module):
    """A detector from pixels to boxes and scores, before their choice.

    Normalisation is part of it.

    Args:
        model (nn.Module): A detector with a YOLOv8 head or one of dsym's.
        size (tuple[int]): Height and width of the images, multiples of 32.

    Raises:
        InputError: For another head.
    """

    def __init__(self, model: nn.Module, size: Tuple[int, int]) -> None:
        super().__init__()
        head = getattr(model, 'bbox_head', None)
        if not isinstance(head, YOLOv8Head):
            raise InputError(
                f'{type(head or model).__name__} cannot be exported: heads of '
                'YOLOv8, YOLOv9 and MambaHead can'
            )
        largest = max(head.featmap_strides)
        if any(x % largest for x in size):
            raise InputError(
                f'size {size[0]}x{size[1]}: give multiples of {largest}, the '
                'largest stride'
            )
        self.model = model
        priors = head.prior_generator.grid_priors(
            [(size[0] // x, size[1] // x) for x in head.featmap_strides],
            device='cpu',
            with_stride=True,
        )
        self.register_buffer('priors', torch.cat(priors))

    def forward(self, images: Tensor) -> Tuple[Tensor, Tensor]:
        """Predict.

        Args:
            images (Tensor): ``(B, 3, H, W)``, BGR from 0 to 255, as the test
                pipeline gives them.

        Returns:
            tuple[Tensor]: Boxes ``(B, P, 4)``, xyxy in pixels of the images,
            and scores ``(B, P, num_classes)``.
        """
        before = self.model.data_preprocessor
        if before._channel_conversion:
            images = images[:, [2, 1, 0]]
        if before._enable_normalize:
            images = (images - before.mean) / before.std
        head = self.model.bbox_head
        logits, distances, *confidences = head(self.model.extract_feat(images))
        scores = flatten_levels(logits).sigmoid()
        if confidences:
            scores = scores * flatten_levels(confidences[0]).sigmoid()
        boxes = head.bbox_coder.decode(
            self.priors[:, :2], flatten_levels(distances), self.priors[:, 2]
        )
        return boxes, scores


def export_onnx(
    model: nn.Module,
    classes: Sequence[str],
    checkpoint: Path,
    out: Path,
    size: Tuple[int, int],
    batch: int = 1,
) -> Path:
    """Write a model for one shape of images.

    Args:
        model (nn.Module): Of :func:`load_detector`, on the CPU.
        classes (Sequence[str]): Written into the file.
        checkpoint (Path): What it was loaded from; its hash goes into the
            file.
        out (Path): The file.
        size (tuple[int]): Height and width.
        batch (int): Images a call. Defaults to 1.

    Returns:
        Path: The file.
    """
    onnx = need('onnx')
    network = DecodedNetwork(model, size).eval()
    out.parent.mkdir(parents=True, exist_ok=True)
    with warnings.catch_warnings():
        # of shapes that are constants here, and of the older exporter
        warnings.simplefilter('ignore')
        torch.onnx.export(
            network,
            torch.zeros(batch, 3, *size),
            str(out),
            **EXPORTER_OF_TRACES,
            opset_version=OPSET,
            input_names=['images'],
            output_names=['boxes', 'scores'],
        )
    content = onnx.load(str(out))
    known = dict(classes=list(classes), checkpoint=file_hash(checkpoint))
    content.metadata_props.add(key='dsym', value=json.dumps(known))
    onnx.save(content, str(out))
    return out
