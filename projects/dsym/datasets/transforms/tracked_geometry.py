"""mmyolo's geometric transforms, recorded as mmdet's own are."""

from typing import Tuple

import numpy as np
from mmengine.registry import TRANSFORMS
from mmyolo.datasets.transforms import LetterResize, YOLOv5RandomAffine


def record_homography(results: dict, matrix: np.ndarray) -> None:
    """Compose a step onto ``homography_matrix``, as mmdet's RandomFlip does.

    Args:
        results (dict): Of the pipeline; ``homography_matrix`` (3, 3) maps
            pixels of the original image to pixels of ``img``.
        matrix (np.ndarray): (3, 3), maps pixels of the image before the step
            to pixels of the image after it.
    """
    matrix = matrix.astype(np.float32)
    before = results.get('homography_matrix')
    results['homography_matrix'] = (
        matrix if before is None else matrix @ before
    )


@TRANSFORMS.register_module()
class TrackedLetterResize(LetterResize):
    """LetterResize whose ``homography_matrix`` knows of the padding.

    mmyolo's records the scale alone, which is right for square images only:
    boxes of a teacher then land beside the defects of a student.
    Arguments: as in ``mmyolo.LetterResize``.
    """

    def _record_homography_matrix(self, results: dict) -> None:
        # Here both are still those of this step; transform() adds earlier
        # ones afterwards.
        scale_x, scale_y = results['scale_factor']
        top, _, left, _ = results['pad_param']
        matrix = np.array([[scale_x, 0, left], [0, scale_y, top], [0, 0, 1]])
        record_homography(results, matrix)


@TRANSFORMS.register_module()
class TrackedRandomAffine(YOLOv5RandomAffine):
    """YOLOv5RandomAffine that records its ``homography_matrix``.

    Arguments: as in ``mmyolo.YOLOv5RandomAffine``.
    """

    def _get_random_homography_matrix(
        self, height: int, width: int
    ) -> Tuple[np.ndarray, float]:
        drawn = super()._get_random_homography_matrix(height, width)
        self._warp = drawn[0]
        return drawn

    def transform(self, results: dict) -> dict:
        """Warp ``img`` and ``gt_bboxes``, and record the matrix.

        Args:
            results (dict): With ``img`` (H, W, C) and ``gt_bboxes`` (N, 4),
                which may be empty.

        Returns:
            dict: The same with the new view.
        """
        height, width = results['img'].shape[:2]
        to_center = np.eye(3, dtype=np.float32)
        to_center[:2, 2] = -width / 2, -height / 2
        results = super().transform(results)
        record_homography(results, self._warp @ to_center)
        return results
