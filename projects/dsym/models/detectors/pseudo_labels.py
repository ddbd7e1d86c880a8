from typing import List, Sequence, Tuple

import torch
from mmdet.structures import DetDataSample
from mmdet.structures.bbox import bbox_project
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from torch import Tensor, nn

from ...errors import InputError

# The teacher's inference settings over test_cfg, which is made for mAP.
PSEUDO_CFG = dict(
    score_thr=0.05,
    nms=dict(type='nms', iou_threshold=0.6, class_agnostic=True),
    max_per_img=100,
    multi_label=False,
)
# As YOLOv5RandomAffine treats true boxes that it moves out of an image.
MIN_SIDE = 2.0  # px
MIN_AREA_LEFT = 0.1


def homographies(samples: Sequence[DetDataSample], device) -> Tensor:
    """The way from the original images to their views.

    Args:
        samples (Sequence[DetDataSample]): Of the views.
        device (torch.device): Where to.

    Returns:
        Tensor: ``(B, 3, 3)``, float32.

    Raises:
        InputError: If a view does not know it.
    """
    for sample in samples:
        if 'homography_matrix' not in sample:
            raise InputError(
                'a view has no homography_matrix: use TrackedLetterResize and '
                "TrackedRandomAffine, and name 'homography_matrix' in the "
                'meta_keys of its mmdet.PackDetInputs'
            )
    return torch.stack(
        [
            torch.as_tensor(x.homography_matrix, dtype=torch.float32)
            for x in samples
        ]
    ).to(device)


def between_views(
    first: Sequence[DetDataSample], second: Sequence[DetDataSample], device
) -> Tensor:
    """The way from one view of each image to another one.

    Args:
        first (Sequence[DetDataSample]): Of the views where it begins.
        second (Sequence[DetDataSample]): Of those where it ends.
        device (torch.device): Where to.

    Returns:
        Tensor: ``(B, 3, 3)``, float32.
    """
    # solve, unlike a product, stays in float32 under autocast
    return torch.linalg.solve(
        homographies(first, device), homographies(second, device), left=False
    )


def predict_views(
    head: nn.Module,
    outs: tuple,
    samples: Sequence[DetDataSample],
    cfg: ConfigDict,
) -> Sequence[InstanceData]:
    """Decode a dense head's outputs to boxes in pixels of the views.

    mmyolo's heads clip boxes to ``ori_shape`` also without rescaling
    (mmyolo#908): a view of 640 px of an image of 200 px would lose all but
    its corner. They are told that the view is the original.

    Args:
        head (nn.Module): The head.
        outs (tuple): What its forward gave.
        samples (Sequence[DetDataSample]): Of the views.
        cfg (ConfigDict): Inference settings.

    Returns:
        Sequence[InstanceData]: ``bboxes``, ``scores``, ``labels``; float32
        under autocast too.
    """
    metas = []
    for sample in samples:
        meta = {**sample.metainfo, 'ori_shape': sample.img_shape[:2]}
        meta.pop('pad_param', None)
        metas.append({**meta, 'scale_factor': (1.0, 1.0)})
    # mmcv's NMS has no kernel for bfloat16
    outs = [[level.float() for level in levels] for levels in outs]
    results = head.predict_by_feat(
        *outs, batch_img_metas=metas, cfg=cfg, rescale=False
    )
    for boxes in results:
        boxes.bboxes = boxes.bboxes.float()
        boxes.scores = boxes.scores.float()
        boxes.labels = boxes.labels.long()
    return results


def move_boxes(
    boxes: InstanceData, homography: Tensor, shape: Tuple[int, int]
) -> InstanceData:
    """Project boxes and drop what lies outside.

    A box is kept if a tenth of its area and 2 px of each side are still in
    the image, as ``YOLOv5RandomAffine`` does with true boxes.

    Args:
        boxes (InstanceData): With ``bboxes``.
        homography (Tensor): ``(3, 3)``.
        shape (tuple[int]): Height and width of where they go.

    Returns:
        InstanceData: Those that are left, clipped.
    """
    # autocast would round pixels to 8 bits
    with torch.autocast(homography.device.type, enabled=False):
        moved = bbox_project(boxes.bboxes, homography)
    height, width = shape[:2]
    limits = moved.new_tensor([width, height, width, height])
    clipped = torch.minimum(moved.clamp(min=0), limits)
    sides = clipped[:, 2:] - clipped[:, :2]
    before = (moved[:, 2:] - moved[:, :2]).prod(-1)
    keep = (sides > MIN_SIDE).all(-1)
    keep &= sides.prod(-1) > MIN_AREA_LEFT * before
    boxes = boxes[keep]
    boxes.bboxes = clipped[keep]
    return boxes


def predict_originals(
    head: nn.Module,
    outs: tuple,
    samples: Sequence[DetDataSample],
    cfg: ConfigDict,
) -> List[InstanceData]:
    """Decode a dense head's outputs to boxes in pixels of the originals.

    Args:
        head (nn.Module): The head.
        outs (tuple): What its forward gave.
        samples (Sequence[DetDataSample]): Of the views.
        cfg (ConfigDict): Inference settings.

    Returns:
        list[InstanceData]: As of :func:`predict_views`, with ``rows``, by
        which a box is known after a selection.
    """
    found = predict_views(head, outs, samples, cfg)
    device = found[0].bboxes.device
    back = torch.linalg.inv(homographies(samples, device))
    originals = [
        move_boxes(boxes, matrix, sample.ori_shape)
        for boxes, matrix, sample in zip(found, back, samples)
    ]
    for boxes in originals:
        boxes.rows = torch.arange(len(boxes), device=device)
    return originals
