from typing import Dict, List, Sequence

import numpy as np
from mmengine.evaluator import BaseMetric
from mmengine.registry import METRICS
from scipy.stats import rankdata

RIGHT_IOU = 0.5  # as a detection counts as right


def auroc(scores: np.ndarray, right: np.ndarray) -> float:
    """Share of pairs of a right and a wrong one with the right one higher.

    Args:
        scores (np.ndarray): ``(N,)``; ties count half.
        right (np.ndarray): ``(N,)``, bool.

    Returns:
        float: NaN without both kinds.
    """
    num_right = int(right.sum())
    pairs = num_right * (len(right) - num_right)
    if not pairs:
        return float('nan')
    ranks = rankdata(scores)[right].sum()
    return float((ranks - num_right * (num_right + 1) / 2) / pairs)


@METRICS.register_module()
class RegionGradeMetric(BaseMetric):
    """Can grades tell right boxes from wrong ones?

    A region and a class are right if it has an IoU of 0.5 with a defect of
    that class. Reported are the AUROC against badly placed regions, against
    background, and against the other classes of the same regions; and
    ``AUROC`` against all of them.
    """

    default_prefix = 'grade'

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        """Take the regions of samples."""
        for sample in data_samples:
            regions = sample['regions']
            grades = regions['grades'].cpu().numpy()
            labels = regions['labels'].cpu().numpy()
            ious = regions['ious'].cpu().numpy()
            self.results.append((grades, labels, ious))

    def compute_metrics(self, results: List[tuple]) -> Dict[str, float]:
        """Compute all four."""
        grades, labels, ious = map(np.concatenate, zip(*results))
        own = grades[np.arange(len(grades)), labels]
        others = grades.copy()
        others[np.arange(len(grades)), labels] = -1
        good = ious >= RIGHT_IOU
        nearest = others[good].max(1)
        wrong = dict(
            misplaced=own[~good & (ious > 0)],
            background=own[ious == 0],
            other_class=nearest[nearest >= 0],  # none of a single class
        )
        wrong['AUROC'] = np.concatenate(list(wrong.values()))
        return {
            name: auroc(
                np.concatenate([own[good], x]),
                np.arange(good.sum() + len(x)) < good.sum(),
            )
            for name, x in wrong.items()
        }
