from typing import Optional, Sequence

import numpy as np
from mmcv.transforms import BaseTransform
from mmdet.structures.bbox import autocast_box_type
from mmengine.registry import TRANSFORMS

from dsym.errors import InputError

from .tracked_geometry import record_homography

#: Exchanges x and y.
TRANSPOSE = np.array([[0, 1, 0], [1, 0, 0], [0, 0, 1]], np.float32)


@TRANSFORMS.register_module()
class RandomTranspose(BaseTransform):
    """Exchanges x and y: what lies upright lies across.

    With the flips of ``mmdet.RandomFlip`` that is all eight ways to lay a
    square image, quarter turns among them.

    Args:
        prob (float): Share of the images. Defaults to 0.5.
        classes (Sequence[int], optional): Labels of classes that lie both
            ways; an image with a box of another class stays as it is.
            Defaults to None, all. One without boxes is transposed.

    Raises:
        InputError: If ``prob`` is no share, or if images have masks.
    """

    def __init__(
        self, prob: float = 0.5, classes: Optional[Sequence[int]] = None
    ) -> None:
        if not 0 <= prob <= 1:
            raise InputError(
                f'RandomTranspose: prob={prob} is no share: give 0 to 1'
            )
        self.prob = prob
        self.classes = classes

    @autocast_box_type()
    def transform(self, results: dict) -> dict:
        """Transpose ``img`` and ``gt_bboxes``, and record the matrix.

        Args:
            results (dict): With ``img`` (H, W, C) and, if there are any,
                ``gt_bboxes`` (N, 4); with ``classes``
                also ``gt_bboxes_labels`` (N,).

        Returns:
            dict: The same, or with ``img`` (W, H, C).
        """
        for key in ('gt_masks', 'gt_seg_map'):
            if key in results:
                raise InputError(
                    f'RandomTranspose: {key} would stay as it lies: load '
                    'boxes alone (with_bbox=True)'
                )
        if np.random.rand() >= self.prob:
            return results
        if (
            self.classes is not None
            and not np.isin(results['gt_bboxes_labels'], self.classes).all()
        ):
            return results
        results['img'] = np.ascontiguousarray(results['img'].swapaxes(0, 1))
        results['img_shape'] = results['img'].shape[:2]
        if 'gt_bboxes' in results:
            results['gt_bboxes'].project_(TRANSPOSE)
        record_homography(results, TRANSPOSE)
        return results

    def __repr__(self) -> str:
        name = type(self).__name__
        return f'{name}(prob={self.prob}, classes={self.classes})'
