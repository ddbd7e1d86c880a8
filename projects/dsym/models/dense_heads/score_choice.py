from typing import Any, Mapping, Tuple

from mmdet.models.utils import filter_scores_and_topk
from torch import Tensor


def choose_scores(
    scores: Tensor, cfg: Mapping[str, Any]
) -> Tuple[Tensor, Tensor, Tensor]:
    """Choose an image's candidates as mmyolo's heads do, before NMS.

    Args:
        scores (Tensor): ``(P, C)``, of each place and class.
        cfg (Mapping): ``test_cfg``. With ``multi_label`` a place may have
            several classes; ``score_thr`` defaults to -1, ``nms_pre`` to
            100000.

    Returns:
        tuple[Tensor, Tensor, Tensor]: Scores, labels and places of those that
        are left, ``(N,)`` each, the best first.
    """
    options = cfg.get('score_thr', -1), cfg.get('nms_pre', 100000)
    if cfg.get('multi_label') and scores.shape[1] > 1:
        return filter_scores_and_topk(scores, *options)[:3]
    best, labels = scores.max(1, keepdim=True)
    best, _, places, found = filter_scores_and_topk(
        best, *options, results=dict(labels=labels[:, 0])
    )
    return best, found['labels'], places
